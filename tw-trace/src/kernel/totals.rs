//! What the kernel side counted, read from its maps after the programs are detached.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use anyhow::{Context as _, Result};
use aya::maps::{MapData, PerCpuArray};
use tw_trace_common::counter::{COUNT, Counter};

use super::{load::Loaded, plan::Missed};

impl Loaded {
    /// Counters of everything made and lost, summed over CPUs.
    pub fn counters(&self) -> Result<[u64; COUNT as usize]> {
        let map = self.ebpf.map("COUNTERS").context("the eBPF object has no map COUNTERS")?;
        let map = PerCpuArray::<&MapData, u64>::try_from(map)?;
        // Before what the second program took of them, so that no more are told as lost than are.
        let missed = self.recursion_misses()?;
        let mut counters = [0; COUNT as usize];
        for (counter, sum) in Counter::ALL.iter().zip(&mut counters) {
            *sum = map.get(&(*counter as u32), 0)?.iter().sum();
        }
        counters[Counter::Recursion as usize] += missed.lost(counters[Counter::Nested as usize]);
        Ok(counters)
    }

    /// Events that the kernel dropped because the same program was already running on that CPU
    /// (`bpf_prog_inc_misses_counter`, 5.12 – 7.3; older kernels neither drop nor count).
    fn recursion_misses(&self) -> Result<Misses> {
        let mut misses = Misses::default();
        for (name, program) in self.ebpf.programs() {
            let Ok(fd) = program.fd() else { continue };
            let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
            let info =
                fs::read_to_string(&path).with_context(|| format!("reading the counters of {name}"))?;
            match Missed::by(name) {
                Missed::Nothing => {}
                Missed::StateChange => misses.state_changes += recursion_misses(&info),
                Missed::Event => misses.events += recursion_misses(&info),
            }
        }
        Ok(misses)
    }
}

/// How often the kernel did not run a program inside itself.
#[derive(Default)]
struct Misses {
    state_changes: u64,
    events: u64,
}

impl Misses {
    /// What nobody told, of which a second program took `nested` state changes.
    const fn lost(&self, nested: u64) -> u64 {
        self.state_changes.saturating_sub(nested) + self.events
    }
}

/// The `recursion_misses:` line of a program's fdinfo; zero where the kernel prints none.
pub(crate) fn recursion_misses(fdinfo: &str) -> u64 {
    fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("recursion_misses:"))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Misses, recursion_misses};

    #[test]
    fn a_change_that_the_second_program_took_is_not_lost() {
        assert_eq!(Misses { state_changes: 8, events: 0 }.lost(8), 0);
        assert_eq!(Misses { state_changes: 8, events: 3 }.lost(6), 5);
        // Kernels that do not count what they keep a kprobe from.
        assert_eq!(Misses { state_changes: 0, events: 3 }.lost(6), 3);
    }

    #[test]
    fn misses_are_read_from_fdinfo() {
        assert_eq!(recursion_misses("pos:\t0\nprog_id:\t7\nrecursion_misses:\t12\n"), 12);
        assert_eq!(recursion_misses("pos:\t0\n"), 0);
    }
}

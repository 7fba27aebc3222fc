//! The whole machine's CPU time, from /proc/stat, and waiting until the machine has nothing else to do.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// CPU time in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    /// With interrupts, hard and soft.
    pub(crate) kernel: f64,
}

/// CPU time of all CPUs since boot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Busy {
    cpu: Cpu,
    /// With what a hypervisor gave to others.
    idle: f64,
}

impl Busy {
    pub(crate) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        parse(&text).context("/proc/stat has no line of all CPUs")
    }

    pub(crate) fn since(&self, before: &Self) -> Cpu {
        self.cpu.plus(&before.cpu, -1.0)
    }

    /// The share of the time since then in which CPUs were busy.
    fn share_since(&self, before: &Self) -> f64 {
        let busy = self.since(before);
        let busy = busy.user + busy.kernel;
        busy / (busy + self.idle - before.idle).max(1.0)
    }
}

impl Cpu {
    pub(crate) fn by(&self, connections: u32) -> Self {
        let count = f64::from(connections.max(1));
        Self { user: self.user / count, kernel: self.kernel / count }
    }

    /// With `factor` times the other.
    pub(crate) fn plus(&self, other: &Self, factor: f64) -> Self {
        Self { user: self.user + factor * other.user, kernel: self.kernel + factor * other.kernel }
    }
}

fn parse(stat: &str) -> Option<Busy> {
    // user nice system idle iowait irq softirq steal, in ticks; guests are in user already.
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [user, nice, system, idle, iowait, irq, softirq, steal] = ticks.get(..8)?.try_into().ok()?;
    let us = 1e6 / f64::from(ticks_per_second());
    let cpu = Cpu { user: us * (user + nice), kernel: us * (system + irq + softirq) };
    Some(Busy { cpu, idle: us * (idle + iowait + steal) })
}

/// `USER_HZ`, in which the kernel tells CPU times: 100 on every architecture that we know.
fn ticks_per_second() -> u32 {
    // SAFETY: a plain library call without pointers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u32::try_from(ticks).ok().filter(|ticks| *ticks > 0).unwrap_or(100)
}

/// This much of the machine at work counts as quiet.
const QUIET: f64 = 0.04;
const LOOK: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(4);

/// Waits until the machine is quiet, or for as long as makes sense; tells how busy it still is.
pub(crate) fn settle() -> Result<f64> {
    let start = Instant::now();
    loop {
        let before = Busy::now()?;
        sleep(LOOK);
        let share = Busy::now()?.share_since(&before);
        if share < QUIET || start.elapsed() > PATIENCE {
            return Ok(share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_the_kernel_s_and_stolen_time_is_nobody_s() {
        let before = parse("cpu  10 0 20 100 0 0 0 0 0 0\ncpu0 1 1 1 1\n").expect("a line");
        let after = parse("cpu  20 5 30 150 10 2 8 15 0 0\n").expect("a line");
        let us = 1e6 / f64::from(ticks_per_second());
        let cpu = after.since(&before);
        assert!((cpu.user - 15.0 * us).abs() < 1e-6 && (cpu.kernel - 20.0 * us).abs() < 1e-6);
        assert!((after.share_since(&before) - 35.0 / 110.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_no_stat_file_is_refused() {
        assert!(parse("").is_none());
        assert!(parse("cpu  1 2 3\n").is_none());
    }
}

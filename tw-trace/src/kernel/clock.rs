//! When jiffies are due on CLOCK_MONOTONIC: the kernel's tick is exact, only its phase has to be found.
//!
//! `tick_do_update_jiffies64` (kernel/time/tick-sched.c, 5.10 – 7.3) advances the jiffies by whole `TICK_NSEC`,
//! so jiffy J falls due at `zero + J * TICK_NSEC` for as long as the machine is up. A read of both clocks can
//! only be late against that, never early: the smallest distance seen over a few ticks is the phase.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData},
    programs::{SocketFilter, TestRun as _, TestRunOptions},
};
use tw_trace_common::config::Cell;

use super::tick::Tick;

/// Ticks to look at; the tick is late on a busy machine, so one is not enough.
const TICKS: u32 = 4;

/// Sets [`Cell::JiffyZeroNs`] in the loaded object's `CELLS`.
pub fn calibrate(ebpf: &mut Ebpf, tick: Tick) -> Result<()> {
    let program: &mut SocketFilter =
        ebpf.program_mut("calibrate").context("the eBPF object has no program calibrate")?.try_into()?;
    program.load().context("loading the clock calibration")?;
    let program: &SocketFilter =
        ebpf.program("calibrate").context("the eBPF object has no program calibrate")?.try_into()?;
    let cells =
        Array::<&MapData, u64>::try_from(ebpf.map("CELLS").context("the eBPF object has no map CELLS")?)?;
    // The smallest packet that the kernel takes for a test run: an Ethernet header.
    let packet = [0u8; 14];
    let until = Instant::now() + Duration::from_nanos(tick.ns * u64::from(TICKS));
    let mut zero: Option<u64> = None;
    while Instant::now() < until {
        program
            .test_run(TestRunOptions { data_in: Some(&packet), ..TestRunOptions::new() })
            .context("running the clock calibration (BPF_PROG_TEST_RUN)")?;
        let ns = cells.get(&(Cell::ClockNs as u32), 0)?;
        let jiffies = cells.get(&(Cell::ClockJiffies as u32), 0)?;
        let seen = ns.wrapping_sub(jiffies.wrapping_mul(tick.ns));
        zero = Some(zero.map_or(seen, |zero| earlier(zero, seen)));
    }
    let zero = zero.context("the clock calibration did not run")?;
    let mut cells = Array::<&mut MapData, u64>::try_from(ebpf.map_mut("CELLS").context("no map CELLS")?)?;
    cells.set(Cell::JiffyZeroNs as u32, zero, 0)?;
    Ok(())
}

/// The earlier of two wrapped times that lie less than half the range apart.
const fn earlier(a: u64, b: u64) -> u64 {
    if b.wrapping_sub(a) > u64::MAX / 2 { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::earlier;

    #[test]
    fn the_earlier_time_wins_across_the_wrap() {
        assert_eq!(earlier(5, 7), 5);
        assert_eq!(earlier(7, 5), 5);
        assert_eq!(earlier(u64::MAX, 1), u64::MAX);
        assert_eq!(earlier(1, u64::MAX), u64::MAX);
    }
}

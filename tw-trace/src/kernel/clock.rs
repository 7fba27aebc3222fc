//! When jiffies are due on CLOCK_MONOTONIC: the kernel's tick is exact, only its phase has to be found.
//!
//! `tick_do_update_jiffies64` (kernel/time/tick-sched.c, 5.10 – 7.3) advances the jiffies by whole `TICK_NSEC`,
//! so jiffy J falls due at `zero + J * TICK_NSEC` for as long as the machine is up. A read of both clocks can
//! only be late against that, never early: the smallest distance seen over a few ticks is the phase.
//!
//! Since 6.4, and in stable releases of before, ticks are due at whole multiples of `TICK_NSEC` (`tick_init_jiffy_update`).
//! Where changes of the jiffies are seen right behind such multiples, these are taken for when they were due: that is
//! exact, and found within two ticks.

use std::{
    fs,
    os::fd::OwnedFd,
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::{
    maps::{Array, Map, MapData},
    programs::{SocketFilter, TestRun as _, TestRunOptions},
};
use nix::time::{ClockId, clock_gettime};
use tw_trace_common::config::Cell;

use super::tick::Tick;

/// Changes of the jiffies that are wanted right behind multiples of the tick.
const ALIGNED: u32 = 2;
/// Two readings with such a change between them are as close as that, which the interrupt that makes it may take.
const NEAR_NS: u64 = 100_000;
/// How late the interrupt may be.
const LATE_NS: u64 = 20_000;
/// Changes that are wanted otherwise, with two readings close around them.
const CLEAN: u32 = 3;
/// How close: the error that the phase may have.
const CLOSE_NS: u64 = 20_000;
/// On a machine too busy for that, the best of this long is taken.
const AT_MOST: Duration = Duration::from_millis(150);

/// CLOCK_MONOTONIC as the kernel side has it (`bpf_ktime_get_ns`). In a time namespace, the one of this process is set off
/// from it (time_namespaces(7), 5.6 – 7.3).
pub fn kernel_ns() -> Result<u64> {
    static OFFSET: OnceLock<i64> = OnceLock::new();
    let offset = OFFSET.get_or_init(|| {
        fs::read_to_string("/proc/self/timens_offsets").map_or(0, |offsets| monotonic_offset(&offsets))
    });
    Ok(now_ns(ClockId::CLOCK_MONOTONIC)?.wrapping_add_signed(-offset))
}

/// Nanoseconds from the kernel's CLOCK_MONOTONIC to the wall clock, now: changes with each step of the wall clock, and
/// with each suspend.
pub fn realtime_offset_ns() -> Result<i64> {
    let (realtime, mono) = (now_ns(ClockId::CLOCK_REALTIME)?, kernel_ns()?);
    Ok(i64::try_from(realtime).unwrap_or(0) - i64::try_from(mono).unwrap_or(0))
}

/// The line `monotonic SECONDS NANOSECONDS` of /proc/PID/timens_offsets; zero where there is none.
fn monotonic_offset(offsets: &str) -> i64 {
    let fields = offsets.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let offset = |fields: Vec<&str>| match fields[..] {
        ["monotonic", seconds, ns] => {
            seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(ns.parse().ok()?)
        }
        _ => None,
    };
    fields.filter_map(offset).next().unwrap_or(0)
}

/// A clock's time in nanoseconds.
pub fn now_ns(clock: ClockId) -> Result<u64> {
    let now = clock_gettime(clock)?;
    Ok(u64::try_from(now.tv_sec()).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap_or(0))
}

/// Finds CLOCK_MONOTONIC at jiffy zero, wrapped, and by how much it may be off, in nanoseconds. `program` is the
/// object's `calibrate`, not loaded yet, `cells` its `CELLS`.
pub fn calibrate(program: &mut SocketFilter, cells: OwnedFd, tick: Tick) -> Result<(u64, u64)> {
    program.load().context("loading the clock calibration")?;
    let cells = Map::Array(MapData::from_fd(cells).context("the map CELLS")?);
    let cells = Array::<_, u64>::try_from(cells)?;
    // The smallest packet that the kernel takes for a test run: an Ethernet header.
    let packet = [0u8; 14];
    let began = Instant::now();
    let mut search = Search::default();
    while search.best.is_none() || (!search.is_over() && began.elapsed() < AT_MOST) {
        program
            .test_run(TestRunOptions { data_in: Some(&packet), ..TestRunOptions::new() })
            .context("running the clock calibration (BPF_PROG_TEST_RUN)")?;
        search.take(
            cells.get(&(Cell::ClockNs as u32), 0)?,
            cells.get(&(Cell::ClockJiffies as u32), 0)?,
            tick.ns,
        );
    }
    search.found().context("the clock calibration found nothing")
}

/// Looks for readings right before and right after the jiffies changed: the change lies between them.
#[derive(Debug, Default)]
struct Search {
    last: Option<(u64, u64)>,
    /// The earliest time of jiffy zero seen, and the distance of the readings that bound it best.
    best: Option<(u64, u64)>,
    /// Changes with two close readings around them.
    clean: u32,
    /// Jiffy zero and the distance of the readings, were ticks due at multiples of their length, and changes that
    /// speak for it.
    aligned: Option<(u64, u64)>,
    behind: u32,
}

impl Search {
    fn take(&mut self, ns: u64, jiffies: u64, tick_ns: u64) {
        let before = self.last.replace((ns, jiffies));
        let Some((ns_before, _)) = before.filter(|(_, before)| *before != jiffies) else { return };
        let zero = ns.wrapping_sub(jiffies.wrapping_mul(tick_ns));
        let distance = ns.wrapping_sub(ns_before);
        self.clean += u32::from(distance <= CLOSE_NS);
        self.best = Some(match self.best {
            None => (zero, distance),
            Some((best, least)) => (earlier(best, zero), least.min(distance)),
        });
        let since_multiple = ns % tick_ns;
        if distance <= NEAR_NS && since_multiple <= distance + LATE_NS {
            self.behind(zero.wrapping_sub(since_multiple), since_multiple);
        }
    }

    /// A change came so long after a multiple of the tick, which is where `zero` counts from.
    fn behind(&mut self, zero: u64, since_ns: u64) {
        match &mut self.aligned {
            Some((known, least)) if *known == zero => {
                *least = since_ns.min(*least);
                self.behind += 1;
            }
            // The jiffies were late by whole ticks at one of them.
            Some((known, _)) if earlier(*known, zero) == *known => {}
            _ => (self.aligned, self.behind) = (Some((zero, since_ns)), 1),
        }
    }

    const fn is_over(&self) -> bool {
        self.behind >= ALIGNED || self.clean >= CLEAN
    }

    fn found(&self) -> Option<(u64, u64)> {
        self.aligned.filter(|_| self.behind >= ALIGNED).or(self.best)
    }
}

/// The earlier of two wrapped times that lie less than half the range apart.
const fn earlier(a: u64, b: u64) -> u64 {
    if b.wrapping_sub(a) > u64::MAX / 2 { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::{Search, earlier, kernel_ns, monotonic_offset};

    #[test]
    fn the_offset_of_a_time_namespace_is_read() {
        assert_eq!(monotonic_offset("monotonic           0         0\nboottime   0  0\n"), 0);
        assert_eq!(monotonic_offset("monotonic        -100         5\n"), -99_999_999_995);
        assert_eq!(monotonic_offset("boottime 7 7\nmonotonic 86400 0\n"), 86_400_000_000_000);
        assert_eq!(monotonic_offset("monotonic 9223372036854775807 0\nmonotonic\n"), 0);
        let (first, second) = (kernel_ns().unwrap(), kernel_ns().unwrap());
        assert!(first <= second);
    }

    #[test]
    fn the_phase_is_found_between_close_readings() {
        let mut search = Search::default();
        // Jiffies change at 1,000,000 · n + 300; one reading comes late.
        for (ns, jiffies) in
            [(900, 0), (999_900, 0), (1_400_300, 1), (2_000_290, 1), (2_000_310, 2), (2_000_320, 2)]
        {
            search.take(ns, jiffies, 1_000_000);
        }
        assert_eq!(search.best, Some((310, 20)));
        assert_eq!(search.clean, 1);
    }

    #[test]
    fn changes_right_behind_multiples_of_the_tick_tell_it_exactly() {
        let mut search = Search::default();
        // One is seen too far apart, one a whole tick late.
        let readings = [
            (4_999_990, 4),
            (5_000_016, 5),
            (6_000_000, 5),
            (6_500_000, 6),
            (6_999_990, 6),
            (8_000_005, 7),
            (8_999_950, 8),
        ];
        for (ns, jiffies) in readings {
            search.take(ns, jiffies, 1_000_000);
            assert!(!search.is_over());
        }
        search.take(9_000_012, 9, 1_000_000);
        assert!(search.is_over());
        assert_eq!(search.found(), Some((0, 12)));
    }

    #[test]
    fn changes_elsewhere_speak_for_another_phase() {
        let mut search = Search::default();
        for tick in 1..=3 {
            search.take(tick * 1_000_000 + 700_300, tick, 1_000_000);
            assert!(!search.is_over());
            search.take(tick * 1_000_000 + 700_310, tick + 1, 1_000_000);
        }
        assert_eq!((search.is_over(), search.found()), (true, Some((u64::MAX - 299_689, 10))));
    }

    #[test]
    fn the_earlier_time_wins_across_the_wrap() {
        assert_eq!(earlier(5, 7), 5);
        assert_eq!(earlier(7, 5), 5);
        assert_eq!(earlier(u64::MAX, 1), u64::MAX);
        assert_eq!(earlier(1, u64::MAX), u64::MAX);
    }
}

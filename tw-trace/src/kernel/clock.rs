//! When jiffies are due on CLOCK_MONOTONIC: the kernel's tick is exact, only its phase has to be found.
//!
//! `tick_do_update_jiffies64` (kernel/time/tick-sched.c, 5.10 – 7.3) advances the jiffies by whole `TICK_NSEC`,
//! so jiffy J falls due at `zero + J * TICK_NSEC` for as long as the machine is up. The timer that ticks on CPU 0 has
//! that phase (`tick_setup_sched_timer`; only other CPUs may be skewed), and /proc/timer_list says when it is due.
//!
//! Where it does not, the phase is looked for: a read of both clocks can only be late against a change of the jiffies,
//! never early, and the smallest distance seen over a few ticks is the phase.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    os::fd::OwnedFd,
    thread,
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

/// Readings of both clocks with a known phase, a quarter of a tick apart: should the jiffies be late at one of them,
/// another tells.
const READINGS: u32 = 8;
/// Changes of the jiffies that are wanted with two readings close around them.
const CLEAN: u32 = 3;
/// How close: the error that the phase may have.
const CLOSE_NS: u64 = 20_000;
/// On a machine too busy for that, the best of this long is taken.
const AT_MOST: Duration = Duration::from_millis(150);

/// A clock's time in nanoseconds.
pub fn now_ns(clock: ClockId) -> Result<u64> {
    let now = clock_gettime(clock)?;
    Ok(u64::try_from(now.tv_sec()).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap_or(0))
}

/// Finds CLOCK_MONOTONIC at jiffy zero, wrapped, and by how much it may be late, in nanoseconds. `program` is the
/// object's `calibrate`, not loaded yet, `cells` its `CELLS`.
pub fn calibrate(program: &mut SocketFilter, cells: OwnedFd, tick: Tick) -> Result<(u64, u64)> {
    program.load().context("loading the clock calibration")?;
    let cells = Map::Array(MapData::from_fd(cells).context("the map CELLS")?);
    let cells = Array::<_, u64>::try_from(cells)?;
    // The smallest packet that the kernel takes for a test run: an Ethernet header.
    let packet = [0u8; 14];
    let read = || -> Result<Clocks> {
        program
            .test_run(TestRunOptions { data_in: Some(&packet), ..TestRunOptions::new() })
            .context("running the clock calibration (BPF_PROG_TEST_RUN)")?;
        Ok(Clocks {
            ns: cells.get(&(Cell::ClockNs as u32), 0)?,
            jiffies: cells.get(&(Cell::ClockJiffies as u32), 0)?,
        })
    };
    match told_phase(tick.ns) {
        Some(phase) => Ok((count_ticks(read, phase, tick.ns)?, 0)),
        None => search(read, tick.ns),
    }
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clocks {
    ns: u64,
    jiffies: u64,
}

/// When ticks are due, as a remainder of their length; root may ask.
fn told_phase(tick_ns: u64) -> Option<u64> {
    phase_of(BufReader::new(File::open("/proc/timer_list").ok()?), tick_ns)
}

/// The file begins with the timers of CPU 0, each with when it expires in the line below (`print_timer`,
/// kernel/time/timer_list.c, 5.10 – 7.3).
fn phase_of(timer_list: impl BufRead, tick_ns: u64) -> Option<u64> {
    /// Since 6.9, and before.
    const HANDLERS: [&str; 2] = [" tick_nohz_handler,", " tick_sched_timer,"];
    let mut lines = timer_list.lines().map_while(Result::ok);
    lines.by_ref().find(|line| line == "cpu: 0")?;
    let mut of_cpu_0 = lines.take_while(|line| !line.starts_with("cpu: "));
    of_cpu_0.by_ref().find(|line| HANDLERS.iter().any(|handler| line.contains(handler)))?;
    let expires =
        of_cpu_0.next()?.trim_start().strip_prefix("# expires at ")?.split('-').next()?.parse::<u64>();
    Some(expires.ok()? % tick_ns)
}

/// Which jiffy was due at which tick.
fn count_ticks(read: impl Fn() -> Result<Clocks>, phase: u64, tick_ns: u64) -> Result<u64> {
    let mut zero = read()?.zero(phase, tick_ns);
    for _ in 1..READINGS {
        thread::sleep(Duration::from_nanos(tick_ns / 4));
        zero = earlier(zero, read()?.zero(phase, tick_ns));
    }
    Ok(zero)
}

impl Clocks {
    /// CLOCK_MONOTONIC at jiffy zero, wrapped, if the jiffies are those of the last tick that was due.
    const fn zero(self, phase: u64, tick_ns: u64) -> u64 {
        let since_tick = (self.ns - phase) % tick_ns;
        (self.ns - since_tick).wrapping_sub(self.jiffies.wrapping_mul(tick_ns))
    }
}

fn search(read: impl Fn() -> Result<Clocks>, tick_ns: u64) -> Result<(u64, u64)> {
    let began = Instant::now();
    let mut search = Search::default();
    while search.best.is_none() || (search.clean < CLEAN && began.elapsed() < AT_MOST) {
        search.take(read()?, tick_ns);
    }
    search.best.context("the clock calibration found nothing")
}

/// Looks for readings right before and right after the jiffies changed: the change lies between them.
#[derive(Debug, Default)]
struct Search {
    last: Option<Clocks>,
    /// The earliest time of jiffy zero seen, and the distance of the readings that bound it best.
    best: Option<(u64, u64)>,
    /// Changes with two close readings around them.
    clean: u32,
}

impl Search {
    fn take(&mut self, now: Clocks, tick_ns: u64) {
        let Some(before) = self.last.replace(now).filter(|before| before.jiffies != now.jiffies) else {
            return;
        };
        let zero = now.ns.wrapping_sub(now.jiffies.wrapping_mul(tick_ns));
        let distance = now.ns.wrapping_sub(before.ns);
        self.clean += u32::from(distance <= CLOSE_NS);
        self.best = Some(match self.best {
            None => (zero, distance),
            Some((best, least)) => (earlier(best, zero), least.min(distance)),
        });
    }
}

/// The earlier of two wrapped times that lie less than half the range apart.
const fn earlier(a: u64, b: u64) -> u64 {
    if b.wrapping_sub(a) > u64::MAX / 2 { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u64 = 1_000_000;

    #[test]
    fn the_phase_is_that_of_the_timer_that_ticks_on_cpu_0() {
        let list = |handler: &str, cpu: u32| {
            format!(
                "Timer List Version: v0.10\nHRTIMER_MAX_CLOCK_BASES: 8\nnow at 35940379990312 nsecs\n\ncpu: {cpu}\n \
                 clock 0:\n  .base:       000000008151a614\nactive timers:\n #0: <0000000030217f83>, hrtimer_wakeup, \
                 S:01\n # expires at 5-6 nsecs [in 1 to 2 nsecs]\n #1: <0000000030217f83>, {handler}, S:01\n # \
                 expires at 35940380000300-35940380000300 nsecs [in 9688 to 9688 nsecs]\ncpu: 7\n"
            )
        };
        for handler in ["tick_nohz_handler", "tick_sched_timer"] {
            assert_eq!(phase_of(list(handler, 0).as_bytes(), TICK), Some(300), "{handler}");
        }
        // Skewed, perhaps; on CPU 0 nothing ticks; nothing is told.
        assert_eq!(phase_of(list("tick_nohz_handler", 1).as_bytes(), TICK), None);
        let elsewhere = list("watchdog_timer_fn", 0) + &list("tick_nohz_handler", 1);
        assert_eq!(phase_of(elsewhere.as_bytes(), TICK), None);
        assert_eq!(phase_of("".as_bytes(), TICK), None);
    }

    #[test]
    fn late_jiffies_are_corrected_by_another_reading() {
        let readings = [(7_000_299, 5), (7_000_299, 6), (7_500_000, 7), (8_000_301, 8)]
            .map(|(ns, jiffies)| Clocks { ns, jiffies }.zero(300, TICK));
        assert_eq!(readings, [TICK + 300, 300, 300, 300]);
        let next = std::cell::Cell::new(0);
        let read = || {
            let reading = next.replace(next.get() + 1);
            // Jiffies of one tick before, but once.
            let jiffies = 4 + u64::from(reading == 3);
            Ok(Clocks { ns: 5_000_400, jiffies })
        };
        assert_eq!(count_ticks(read, 300, TICK).unwrap(), 300);
    }

    #[test]
    fn jiffies_may_be_ahead_of_the_clock() {
        // They begin five minutes before they wrap at 32 bits.
        let zero = Clocks { ns: 2 * TICK + 10, jiffies: 4_294_667_298 }.zero(0, TICK);
        assert_eq!(zero.wrapping_add(4_294_667_298 * TICK), 2 * TICK);
    }

    #[test]
    fn the_phase_is_found_between_close_readings() {
        let mut search = Search::default();
        // Jiffies change at 1,000,000 · n + 300; one reading comes late.
        for (ns, jiffies) in
            [(900, 0), (999_900, 0), (1_400_300, 1), (2_000_290, 1), (2_000_310, 2), (2_000_320, 2)]
        {
            search.take(Clocks { ns, jiffies }, TICK);
        }
        assert_eq!(search.best, Some((310, 20)));
        assert_eq!(search.clean, 1);
    }

    #[test]
    fn the_earlier_time_wins_across_the_wrap() {
        assert_eq!(earlier(5, 7), 5);
        assert_eq!(earlier(7, 5), 5);
        assert_eq!(earlier(u64::MAX, 1), u64::MAX);
        assert_eq!(earlier(1, u64::MAX), u64::MAX);
    }
}

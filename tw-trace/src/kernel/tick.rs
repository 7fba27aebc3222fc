//! The length of a jiffy, measured: anyone may ask the coarse clock for its resolution.

use std::io;

use nix::time::{ClockId, clock_getres};

const NANOS: u64 = 1_000_000_000;

/// One jiffy of this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    pub ns: u64,
    /// CONFIG_HZ.
    pub hz: u32,
}

impl Tick {
    /// The coarse clocks' resolution is TICK_NSEC (`posix_get_coarse_res`, 5.10 – 7.3).
    pub fn read() -> io::Result<Self> {
        let resolution = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)?;
        let ns = u64::try_from(resolution.tv_sec()).unwrap_or(0) * NANOS
            + u64::try_from(resolution.tv_nsec()).unwrap_or(0);
        Self::from_ns(ns).ok_or_else(|| io::Error::other(format!("a clock resolution of {ns} ns is no tick")))
    }

    /// `None` for what no kernel ticks at (CONFIG_HZ is 24 – 1200 across architectures).
    pub fn from_ns(ns: u64) -> Option<Self> {
        let hz = (NANOS + ns / 2).checked_div(ns)?;
        (10..=10_000).contains(&hz).then_some(Self { ns, hz: hz as u32 })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::skip::skip;

    #[test]
    fn hz_is_rounded() {
        for (ns, hz) in [(10_000_000, 100), (4_000_000, 250), (3_333_333, 300), (1_000_000, 1000)] {
            assert_eq!(Tick::from_ns(ns), Some(Tick { ns, hz }));
        }
        for ns in [0, 1, 50_000_000_000] {
            assert_eq!(Tick::from_ns(ns), None);
        }
    }

    #[test]
    fn the_measured_tick_is_the_configured_one() {
        let tick = Tick::read().unwrap();
        let config = Command::new("zcat").arg("/proc/config.gz").output();
        let config = config.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let config = config.unwrap_or_default();
        match config.lines().find_map(|line| line.strip_prefix("CONFIG_HZ=")) {
            Some(hz) => assert_eq!(tick.hz.to_string(), hz),
            None => skip("the_measured_tick_is_the_configured_one", "no CONFIG_HZ in /proc/config.gz"),
        }
    }
}

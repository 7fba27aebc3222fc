//! What one look at the wheel shows, from two states of the kernel's counts. Pure.

use tw_trace_common::{
    state::ExitReason,
    wheel::{Burst, WheelCpu},
};

use crate::{
    buckets::Buckets,
    kernel::{
        tick::Tick,
        wheel::{Bucket, Counted},
    },
    wheel::modern::granularity_ns,
};

/// A burst that has been still for this long is over: the softirq does not pause.
const STILL_NS: u64 = 100_000_000;
/// What a bucket holds this long after it was due is not there any more: its end was not seen. If it does fire later, it
/// is no longer counted as lost.
const OVERDUE_NS: u64 = 3_000_000_000;

/// How to read jiffies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jiffies {
    pub tick: Tick,
    /// CLOCK_MONOTONIC at jiffy zero, wrapped.
    pub zero_ns: u64,
}

impl Jiffies {
    /// CLOCK_MONOTONIC when this jiffy is due.
    pub const fn ns(self, jiffy: u64) -> u64 {
        self.zero_ns.wrapping_add(jiffy.wrapping_mul(self.tick.ns))
    }
}

/// Sums over all CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub seeded: u64,
    pub entered: u64,
    pub rearms: u64,
    /// Of those, put on the wheel again so far.
    pub restarted: u64,
    /// By `ExitReason`.
    pub exited: [u64; 8],
    pub armed_away: u64,
    pub fired_away: u64,
    pub unknown: u64,
}

impl Sums {
    pub fn of(counted: &Counted) -> Self {
        let sum = |field: fn(&WheelCpu) -> u64| counted.cpus.iter().map(field).sum();
        Self {
            seeded: counted.seeded,
            entered: sum(|cpu| cpu.entered),
            rearms: sum(|cpu| cpu.rearms),
            restarted: sum(|cpu| cpu.restarted),
            exited: std::array::from_fn(|reason| counted.cpus.iter().map(|cpu| cpu.exited[reason]).sum()),
            armed_away: sum(|cpu| cpu.armed_away),
            fired_away: sum(|cpu| cpu.fired_away),
            unknown: sum(|cpu| cpu.unknown),
        }
    }

    pub const fn fired(&self) -> u64 {
        self.exited[ExitReason::Expired as usize]
    }

    pub fn ended(&self) -> u64 {
        self.exited.iter().sum()
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            seeded: self.seeded.saturating_sub(earlier.seeded),
            entered: self.entered.saturating_sub(earlier.entered),
            rearms: self.rearms.saturating_sub(earlier.rearms),
            restarted: self.restarted.saturating_sub(earlier.restarted),
            exited: std::array::from_fn(|reason| self.exited[reason].saturating_sub(earlier.exited[reason])),
            armed_away: self.armed_away.saturating_sub(earlier.armed_away),
            fired_away: self.fired_away.saturating_sub(earlier.fired_away),
            unknown: self.unknown.saturating_sub(earlier.unknown),
        }
    }
}

/// Timers that fired one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bursts {
    /// Timers of a burst.
    pub sizes: Buckets,
    /// From its first timer to its last, in nanoseconds.
    pub times: Buckets,
}

impl Bursts {
    /// Those that are over at `now_ns`.
    fn over(counted: &Counted, now_ns: u64) -> Self {
        let mut bursts = Self { sizes: counted.burst_timers.clone(), times: counted.burst_time.clone() };
        let last = counted.cpus.iter().map(|cpu| &cpu.burst);
        for burst in last.filter(|burst| {
            burst.timers > 0
                && burst.last_ns >= burst.first_ns
                && burst.last_ns.saturating_add(STILL_NS) <= now_ns
        }) {
            bursts.sizes.insert(burst.timers);
            bursts.times.insert(burst.lasted());
        }
        bursts
    }

    /// Timers in all of them.
    pub const fn timers(&self) -> u64 {
        self.sizes.sum()
    }

    fn since(&self, earlier: &Self) -> Self {
        Self { sizes: self.sizes.since(&earlier.sizes), times: self.times.since(&earlier.times) }
    }
}

/// The buckets of one level that hold timers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    pub cpu: u32,
    pub level: u8,
    pub granularity_ns: u64,
    /// In the order in which they fire.
    pub buckets: Vec<Bucket>,
}

impl Level {
    pub fn timers(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.timers).sum()
    }
}

/// What everything counted so far comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub sums: Sums,
    pub bursts: Bursts,
    pub rounding: Buckets,
    pub lateness: Buckets,
    pub overshoot: Buckets,
}

impl State {
    pub fn of(counted: &Counted, now_ns: u64) -> Self {
        Self {
            sums: Sums::of(counted),
            bursts: Bursts::over(counted, now_ns),
            rounding: counted.rounding.clone(),
            lateness: counted.lateness.clone(),
            overshoot: counted.overshoot.clone(),
        }
    }

    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            sums: self.sums.since(&earlier.sums),
            bursts: self.bursts.since(&earlier.bursts),
            rounding: self.rounding.since(&earlier.rounding),
            lateness: self.lateness.since(&earlier.lateness),
            overshoot: self.overshoot.since(&earlier.overshoot),
        }
    }
}

/// The wheel at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wheels {
    /// In the order of CPU and level.
    pub levels: Vec<Level>,
    /// Timers in them.
    pub timers: u64,
    /// Counted in buckets that have long fired: their ends were not seen.
    pub overdue: u64,
}

impl Wheels {
    pub fn of(counted: &Counted, jiffies: Jiffies, now_ns: u64) -> Self {
        let mut wheels = Self::default();
        for bucket in &counted.buckets {
            let overdue = now_ns.wrapping_sub(jiffies.ns(bucket.due)).cast_signed();
            if overdue > OVERDUE_NS.cast_signed() {
                wheels.overdue += bucket.timers;
                continue;
            }
            wheels.timers += bucket.timers;
            match wheels.levels.last_mut() {
                Some(level) if (level.cpu, level.level) == (bucket.cpu, bucket.level) => {
                    level.buckets.push(*bucket);
                }
                Some(_) | None => wheels.levels.push(Level {
                    cpu: bucket.cpu,
                    level: bucket.level,
                    granularity_ns: granularity_ns(jiffies.tick.ns, bucket.level),
                    buckets: vec![*bucket],
                }),
            }
        }
        for level in &mut wheels.levels {
            level.buckets.sort_by_key(|bucket| bucket.due);
        }
        wheels
    }

    /// The bucket that fires next.
    pub fn next(&self) -> Option<&Bucket> {
        self.levels.iter().filter_map(|level| level.buckets.first()).min_by_key(|bucket| bucket.due)
    }
}

/// The burst of the whole run that was most of something.
pub fn extreme(counted: &Counted, of: fn(&WheelCpu) -> Burst, by: fn(&Burst) -> u64) -> Option<Burst> {
    let over = counted.cpus.iter().map(of);
    let last = counted.cpus.iter().map(|cpu| cpu.burst);
    over.chain(last).filter(|burst| burst.timers > 0).max_by_key(by)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Tick = Tick { ns: 4_000_000, hz: 250 };
    const JIFFIES: Jiffies = Jiffies { tick: TICK, zero_ns: u64::MAX - 999 };

    fn bucket(cpu: u32, level: u8, slot: u8, due: u64, timers: u64) -> Bucket {
        Bucket { cpu, level, slot, due, timers }
    }

    #[test]
    fn buckets_are_shown_in_the_order_in_which_they_fire() {
        let now = JIFFIES.ns(100_000);
        let counted = Counted {
            buckets: vec![
                bucket(0, 3, 1, 115_200, 7),
                bucket(0, 3, 60, 114_176, 5),
                bucket(1, 2, 9, 100_064, 2),
                bucket(1, 3, 2, 20_480, 1),
            ],
            ..Counted::default()
        };
        let wheels = Wheels::of(&counted, JIFFIES, now);
        assert_eq!((wheels.timers, wheels.overdue), (14, 1));
        let shown: Vec<_> =
            wheels.levels.iter().map(|level| (level.cpu, level.level, level.timers())).collect();
        assert_eq!(shown, [(0, 3, 12), (1, 2, 2)]);
        assert_eq!(wheels.levels[0].buckets[0].slot, 60);
        assert_eq!(wheels.levels[0].granularity_ns, 2_048_000_000);
        assert_eq!(wheels.next().map(|bucket| bucket.slot), Some(9));
        assert_eq!(Wheels::of(&Counted::default(), JIFFIES, now).next(), None);
    }

    #[test]
    fn a_burst_counts_when_it_is_over() {
        let burst = Burst { due: 5, timers: 3, first_ns: 1_000, last_ns: 51_000, base: 0 };
        let cpu = WheelCpu { exited: [0, 3, 0, 0, 0, 0, 0, 0], burst, ..WheelCpu::default() };
        let counted = Counted { cpus: vec![cpu], ..Counted::default() };
        let early = State::of(&counted, 60_000);
        assert_eq!((early.bursts.timers(), early.sums.fired()), (0, 3));
        let late = State::of(&counted, 51_000 + STILL_NS);
        assert_eq!((late.bursts.timers(), late.bursts.times.max()), (3, Some(50_000)));
        assert_eq!(late.since(&early).bursts.timers(), 3);
        let longest = extreme(&counted, |cpu| cpu.longest, Burst::lasted);
        assert_eq!(longest, Some(burst));
    }
}

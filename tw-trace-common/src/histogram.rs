//! Histograms that the kernel side fills and user space reads: log-linear buckets, none wider than a sixteenth of
//! what it begins with, so that no value is told wrong by more than 6.25%.

use core::mem::size_of;

use crate::state::{ExitReason, TcpState};

/// Buckets of a power of two, as a power of two.
const SUB_BITS: u32 = 4;
const SUB: u32 = 1 << SUB_BITS;
/// Values from this power of two on (13 days in nanoseconds) share the last bucket.
const LAST_POWER: u32 = 50;

/// Buckets of a histogram.
pub const BUCKETS: usize = ((LAST_POWER - SUB_BITS + 1) * SUB + SUB) as usize;

/// One histogram as it lies in the `HISTOGRAMS` map, once a CPU. All zeroes is an empty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Histogram {
    /// Of all values, wrapping.
    pub sum: u64,
    pub max: u64,
    /// The complement of the least value, so that zero means none.
    pub min_complement: u64,
    pub spare: u64,
    pub counts: [u64; BUCKETS],
}

impl Histogram {
    pub const EMPTY: Self = Self { sum: 0, max: 0, min_complement: 0, spare: 0, counts: [0; BUCKETS] };
}

/// The bucket of a value.
#[inline(always)]
pub const fn index(value: u64) -> u32 {
    if value < SUB as u64 {
        return value as u32;
    }
    let power = power(value);
    if power > LAST_POWER {
        return BUCKETS as u32 - 1;
    }
    let shift = power - SUB_BITS;
    (shift + 1) * SUB + ((value >> shift) as u32 & (SUB - 1))
}

/// The place of the highest bit; the BPF machine has no instruction for it.
#[inline(always)]
const fn power(value: u64) -> u32 {
    let (mut rest, mut power) = (value, 0);
    if rest >> 32 != 0 {
        (rest, power) = (rest >> 32, power + 32);
    }
    if rest >> 16 != 0 {
        (rest, power) = (rest >> 16, power + 16);
    }
    if rest >> 8 != 0 {
        (rest, power) = (rest >> 8, power + 8);
    }
    if rest >> 4 != 0 {
        (rest, power) = (rest >> 4, power + 4);
    }
    if rest >> 2 != 0 {
        (rest, power) = (rest >> 2, power + 2);
    }
    if rest >> 1 != 0 { power + 1 } else { power }
}

/// The least value of a bucket.
pub const fn low(index: u32) -> u64 {
    if index < SUB {
        return index as u64;
    }
    let shift = index / SUB - 1;
    (SUB as u64 + (index % SUB) as u64) << shift
}

/// The least value behind a bucket. The last one has no end.
pub const fn high(index: u32) -> u64 {
    if index as usize >= BUCKETS - 1 { u64::MAX } else { low(index + 1) }
}

/// What there are histograms of: the keys of the `HISTOGRAMS` map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// Time in TIME_WAIT proper, of sockets that ended for this reason.
    TimeWait(ExitReason),
    /// Time in the FIN_WAIT2 substate.
    FinWait2,
    /// From the due time of a bucket to the firing of a timer in it.
    Lateness,
    /// From what a timer asked for to the due time of its bucket.
    Rounding,
    /// Both together.
    Overshoot,
    /// Timers of a burst: a number, not a time.
    BurstTimers,
    /// From the first timer of a burst to the last.
    BurstTime,
    /// Time in a state of a full socket.
    Dwell(TcpState),
}

impl Series {
    pub const COUNT: u32 = 14 + 2 * Self::IN_SOFTIRQ;

    /// Each [`Self::Dwell`] has two histograms, whose keys differ by this much. Changes made in softirq count in the second,
    /// because they interrupt those made in process context, which count in the first.
    pub const IN_SOFTIRQ: u32 = 14;

    pub const fn key(self) -> u32 {
        match self {
            Self::TimeWait(reason) => reason as u32,
            Self::FinWait2 => 8,
            Self::Lateness => 9,
            Self::Rounding => 10,
            Self::Overshoot => 11,
            Self::BurstTimers => 12,
            Self::BurstTime => 13,
            Self::Dwell(state) => Self::dwell_key(state as u8),
        }
    }

    /// The key of [`Self::Dwell`] for a state that is only a number.
    #[inline(always)]
    pub const fn dwell_key(state: u8) -> u32 {
        14 + state as u32
    }
}

const _: () = {
    assert!(BUCKETS == 768);
    assert!(size_of::<Histogram>() == 4 * 8 + 8 * BUCKETS);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_the_bucket_that_bounds_it() {
        let mut values: std::vec::Vec<u64> = (0..200_000).collect();
        for power in 0..64 {
            let at = 1u64 << power;
            values.extend([at - 1, at, at + 1, at + at / 3, at | at >> 1]);
        }
        for value in values {
            let bucket = index(value);
            assert!((bucket as usize) < BUCKETS);
            assert!(low(bucket) <= value, "{value}");
            assert!(value < high(bucket) || value == u64::MAX, "{value}");
        }
    }

    #[test]
    fn no_bucket_but_the_last_is_wider_than_a_sixteenth() {
        for bucket in 0..BUCKETS as u32 - 1 {
            assert!(high(bucket) > low(bucket));
            let width = high(bucket) - low(bucket);
            assert!(width == 1 || width * 16 <= low(bucket), "{bucket}");
        }
    }

    #[test]
    fn every_series_has_a_key_of_its_own() {
        let mut all: std::vec::Vec<Series> = ExitReason::ALL.iter().map(|r| Series::TimeWait(*r)).collect();
        all.extend(TcpState::ALL.iter().map(|state| Series::Dwell(*state)));
        all.extend([Series::FinWait2, Series::Lateness, Series::Rounding, Series::Overshoot]);
        all.extend([Series::BurstTimers, Series::BurstTime]);
        let mut keys: std::vec::Vec<u32> = all.iter().map(|series| series.key()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all.len());
        assert!(keys.iter().all(|key| *key < Series::COUNT));
    }
}

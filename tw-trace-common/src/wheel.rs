//! What the kernel side counts for the wheel view: timers by bucket, and what became of them by CPU.

use core::mem::size_of;

/// Buckets of a level (`LVL_SIZE`).
pub const LEVEL_SLOTS: u32 = 64;
/// Buckets of one CPU's wheel, nine levels deep (`WHEEL_SIZE`; eight where HZ is 100).
pub const SLOTS: u32 = 9 * LEVEL_SLOTS;

/// One bucket of one CPU's wheel: a value of the `WHEEL_SLOTS` map, whose key is `cpu * SLOTS + index`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Slot {
    /// Time-wait timers that are in it.
    pub timers: u64,
    /// The jiffy at which it fires, as of the timer that came last.
    pub due: u64,
}

/// Timers that fired one after the other, out of one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Burst {
    /// The jiffy at which the bucket was due; zero when there was none yet.
    pub due: u64,
    pub timers: u64,
    /// CLOCK_MONOTONIC of its first timer and of its last.
    pub first_ns: u64,
    pub last_ns: u64,
    /// Whose wheel it was on.
    pub base: u64,
}

impl Burst {
    pub const NONE: Self = Self { due: 0, timers: 0, first_ns: 0, last_ns: 0, base: 0 };

    /// In nanoseconds.
    pub const fn lasted(&self) -> u64 {
        // Read while it is being written, one may be newer than the other.
        self.last_ns.saturating_sub(self.first_ns)
    }
}

/// What happened on one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct WheelCpu {
    /// Timers put on a wheel for the first time.
    pub entered: u64,
    /// Those and the restarted ones that went onto another CPU's wheel.
    pub armed_away: u64,
    /// Taken off to be restarted, and put on again.
    pub rearms: u64,
    pub restarted: u64,
    /// Taken off early, by `ExitReason`; `Expired` are those that fired.
    pub exited: [u64; 8],
    /// Fired out of another CPU's wheel.
    pub fired_away: u64,
    /// Taken off though they had not been counted: of sockets from before the start that were not seeded.
    pub unknown: u64,
    /// The timer that was taken off to be fired.
    pub firing: u64,
    /// The timer that was taken off to be restarted and had not been counted before.
    pub adopting: u64,
    /// Bursts that are over.
    pub bursts: u64,
    /// Timers in them.
    pub burst_timers: u64,
    /// The one under way, or the last one.
    pub burst: Burst,
    /// Of those that are over, the one that took most time.
    pub longest: Burst,
    /// The one with most timers.
    pub largest: Burst,
}

impl WheelCpu {
    pub const NONE: Self = Self {
        entered: 0,
        armed_away: 0,
        rearms: 0,
        restarted: 0,
        exited: [0; 8],
        fired_away: 0,
        unknown: 0,
        firing: 0,
        adopting: 0,
        bursts: 0,
        burst_timers: 0,
        burst: Burst::NONE,
        longest: Burst::NONE,
        largest: Burst::NONE,
    };
}

const _: () = {
    assert!(size_of::<Slot>() == 16);
    assert!(size_of::<WheelCpu>() == 18 * 8 + 3 * 40);
};

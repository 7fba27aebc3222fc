//! The timer wheel of kernel/time/timer.c since 4.8: into which bucket a timer goes, and when that fires.
//!
//! Read in 5.10 – 7.3; 4.8 – 5.7 differ for timers beyond the wheel's capacity only (commit e2a71bdea816). A timer
//! stays in the bucket that it was put into: nothing cascades, so what is far away is rounded up coarsely, for good.

/// `LVL_CLK_SHIFT`: each level is eight times coarser.
const LEVEL_SHIFT: u32 = 3;
/// `LVL_SIZE`: buckets of a level.
const LEVEL_SIZE: u64 = 64;
/// `LVL_SIZE - 1`, as `LVL_START` has it: one bucket less, because `calc_index` rounds up.
const LEVEL_REACH: u64 = LEVEL_SIZE - 1;

/// A bucket of this level is this many jiffies wide.
pub const fn granularity(level: u8) -> u64 {
    1 << (LEVEL_SHIFT * level as u32)
}

/// The same in nanoseconds; 0 for a level that no wheel has.
pub fn granularity_ns(tick_ns: u64, level: u8) -> u64 {
    tick_ns.checked_shl(LEVEL_SHIFT * u32::from(level)).unwrap_or(0)
}

/// The wheel of a kernel: its depth depends on HZ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wheel {
    levels: u8,
}

/// Where a timer sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub level: u8,
    /// Of its level.
    pub slot: u8,
    /// The jiffy at which the bucket fires.
    pub bucket: u64,
}

impl Place {
    /// The kernel's `idx`.
    pub const fn index(self) -> u16 {
        self.level as u16 * LEVEL_SIZE as u16 + self.slot as u16
    }
}

impl Wheel {
    /// `LVL_DEPTH`.
    pub const fn new(hz: u32) -> Self {
        Self { levels: if hz > 100 { 9 } else { 8 } }
    }

    pub const fn levels(self) -> u8 {
        self.levels
    }

    /// The level of a timer this many jiffies ahead of the wheel's clock.
    pub fn level(self, delta: u64) -> u8 {
        (0..self.levels - 1)
            .find(|&level| delta < LEVEL_REACH * granularity(level))
            .unwrap_or(self.levels - 1)
    }

    /// What is this many jiffies ahead, or more, does not fit (`WHEEL_TIMEOUT_CUTOFF`).
    pub const fn cutoff(self) -> u64 {
        LEVEL_REACH * granularity(self.levels - 1)
    }

    /// `calc_wheel_index`: where a timer for `expires` goes when the wheel's clock is at `clk`.
    pub fn place(self, expires: u64, clk: u64) -> Place {
        let delta = expires.wrapping_sub(clk);
        if delta > i64::MAX as u64 {
            // In the past: the bucket that is due next.
            return Place { level: 0, slot: (clk % LEVEL_SIZE) as u8, bucket: clk };
        }
        let level = self.level(delta);
        let farthest = self.cutoff() - granularity(self.levels - 1);
        let expires = if delta < self.cutoff() { expires } else { clk.wrapping_add(farthest) };
        let shift = LEVEL_SHIFT * u32::from(level);
        // Always up, by a whole bucket where it would fit exactly: the tick may be about to end.
        let number = (expires >> shift).wrapping_add(1);
        Place { level, slot: (number % LEVEL_SIZE) as u8, bucket: number << shift }
    }
}

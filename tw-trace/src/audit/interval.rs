//! A count that is known to lie between two numbers.

use std::fmt;

/// At least `low`, at most `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) low: u64,
    pub(super) high: u64,
}

impl Interval {
    /// Whether some number is in both.
    pub(super) const fn meets(self, low: u64, high: u64) -> bool {
        low <= self.high && high >= self.low
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high {
            write!(f, "{}", self.low)
        } else {
            write!(f, "{}–{}", self.low, self.high)
        }
    }
}

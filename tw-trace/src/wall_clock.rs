//! The wall clock of a run that goes on: it is set, it drifts, and the machine sleeps.

use std::time::Duration;

use anyhow::Result;

use crate::{kernel::clock::realtime_offset_ns, warning::Warning};

/// A smaller change comes from the two clocks being read one after the other.
const NOTICED: u64 = 1_000_000;
/// A larger one is no drift, and worth a word.
const STEP: u64 = 100_000_000;

/// The distance of the wall clock from CLOCK_MONOTONIC that times are reported by.
pub struct WallClock {
    offset_ns: i64,
}

impl WallClock {
    /// As the header has it.
    pub const fn new(offset_ns: i64) -> Self {
        Self { offset_ns }
    }

    /// The new distance, if it has changed since the last look. Warns of steps: records since then, up to the interval of
    /// these looks, may have the time of before.
    pub fn look(&mut self) -> Result<Option<i64>> {
        Ok(self.changed_to(realtime_offset_ns()?, Warning::tell))
    }

    fn changed_to(&mut self, offset_ns: i64, warn: impl Fn(&Warning)) -> Option<i64> {
        let by = offset_ns.abs_diff(self.offset_ns);
        if by < NOTICED {
            return None;
        }
        if by >= STEP {
            let forward = offset_ns > self.offset_ns;
            warn(&Warning::WallClockStepped { by: Duration::from_nanos(by), forward });
        }
        self.offset_ns = offset_ns;
        Some(offset_ns)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn drift_is_followed_and_a_step_is_reported() {
        let said = RefCell::new(Vec::new());
        let warn = |warning: &Warning| said.borrow_mut().push(warning.to_string());
        let mut clock = WallClock::new(1_000_000_000);
        assert_eq!(clock.changed_to(1_000_500_000, warn), None);
        assert_eq!(clock.changed_to(1_002_000_000, warn), Some(1_002_000_000));
        assert!(said.borrow().is_empty());
        assert_eq!(clock.changed_to(4_602_000_000, warn), Some(4_602_000_000));
        assert_eq!(clock.changed_to(4_602_000_000, warn), None);
        assert_eq!(said.borrow().len(), 1);
        assert!(said.borrow()[0].contains("forward by 3.6"), "{:?}", said.borrow());
    }
}

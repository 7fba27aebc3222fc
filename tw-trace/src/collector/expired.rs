//! Why expiries took as long as they did: timer, wheel rounding and lateness, by timeout and wheel level.

use tw_trace_common::event::{NONE_NS, TwExit, Wheel};

/// Different timeouts that are told apart; TIME_WAIT has one, so this is generous.
const MOST: usize = 8;
/// Reading the clock next to the arming can be a jiffy off to either side.
const NEAR: u64 = 2;

/// The width of a slot on this level of the timer wheel: each level is eight times coarser (LVL_CLK_SHIFT).
pub fn granularity_ns(tick_ns: u64, level: u8) -> u64 {
    tick_ns.checked_shl(3 * u32::from(level)).unwrap_or(0)
}

/// How much later than asked for the timer's slot is due.
pub fn rounding_ns(tick_ns: u64, wheel: &Wheel) -> u64 {
    wheel.bucket.saturating_sub(wheel.expires).saturating_mul(tick_ns)
}

/// Expired sockets whose last timer asked for the same time on the same wheel level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub level: u8,
    pub count: u64,
    pub granularity_ns: u64,
    /// Time since the last arming.
    pub waited: Range,
    pub rounding: Range,
    /// None known when empty (`min > max`).
    pub lateness: Range,
    tick_ns: u64,
    first_jiffies: u64,
    /// How often each timeout from `first - NEAR` on was asked for.
    near: [u64; 2 * NEAR as usize + 1],
}

/// The least and the largest of some nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub min: u64,
    pub max: u64,
}

impl Range {
    const EMPTY: Self = Self { min: u64::MAX, max: 0 };

    fn add(&mut self, ns: u64) {
        self.min = self.min.min(ns);
        self.max = self.max.max(ns);
    }
}

impl Group {
    /// The timeout that most of them asked for.
    pub fn timeout_ns(&self) -> u64 {
        let most = (0..self.near.len()).max_by_key(|&i| (self.near[i], i.abs_diff(NEAR as usize) == 0));
        let jiffies = (self.first_jiffies + most.unwrap_or(0) as u64).saturating_sub(NEAR);
        jiffies.saturating_mul(self.tick_ns)
    }
}

/// All expiries in TIME_WAIT proper.
pub struct Expired {
    tick_ns: u64,
    groups: Vec<Group>,
}

impl Expired {
    pub const fn new(tick_ns: u64) -> Self {
        Self { tick_ns, groups: Vec::new() }
    }

    /// Groups by timeout, in the order of their first expiry.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub fn add(&mut self, exit: &TwExit) {
        if exit.timeout_jiffies == 0 || exit.since_arming_ns == NONE_NS {
            return;
        }
        let Some(group) = self.group(exit.timeout_jiffies, exit.wheel.level) else { return };
        let offset = exit.timeout_jiffies + NEAR - group.first_jiffies;
        group.near[offset as usize] += 1;
        group.count += 1;
        group.waited.add(exit.since_arming_ns);
        group.rounding.add(rounding_ns(group.tick_ns, &exit.wheel));
        if exit.lateness_ns != NONE_NS {
            group.lateness.add(exit.lateness_ns);
        }
    }

    /// None when there are too many different timeouts.
    fn group(&mut self, jiffies: u64, level: u8) -> Option<&mut Group> {
        let known =
            self.groups.iter().position(|g| g.level == level && g.first_jiffies.abs_diff(jiffies) <= NEAR);
        let index = match known {
            Some(index) => index,
            None if self.groups.len() == MOST => return None,
            None => {
                self.groups.push(Group {
                    level,
                    count: 0,
                    granularity_ns: granularity_ns(self.tick_ns, level),
                    waited: Range::EMPTY,
                    rounding: Range::EMPTY,
                    lateness: Range::EMPTY,
                    tick_ns: self.tick_ns,
                    first_jiffies: jiffies,
                    near: [0; 2 * NEAR as usize + 1],
                });
                self.groups.len() - 1
            }
        };
        self.groups.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::{self, TICK_NS};

    #[test]
    fn a_jiffy_off_is_the_same_timeout_and_the_commonest_is_told() {
        let mut expired = Expired::new(TICK_NS);
        for jiffies in [14_999, 15_000, 15_000, 15_001] {
            expired.add(&TwExit { timeout_jiffies: jiffies, ..made_up::exit() });
        }
        let [group] = expired.groups() else { panic!("{} groups", expired.groups().len()) };
        assert_eq!((group.count, group.timeout_ns()), (4, 60 * made_up::SECOND));
        assert_eq!(group.granularity_ns, 2_048_000_000);
        assert_eq!(group.rounding, Range { min: 1_920_000_000, max: 1_920_000_000 });
        assert_eq!(group.lateness, Range { min: 3_000_000, max: 3_000_000 });
    }

    #[test]
    fn other_timeouts_and_levels_are_other_groups_up_to_a_bound() {
        let mut expired = Expired::new(TICK_NS);
        for jiffies in 1..=100 {
            expired.add(&TwExit { timeout_jiffies: jiffies * 10, ..made_up::exit() });
        }
        assert_eq!(expired.groups().len(), MOST);
        assert!(expired.groups().iter().all(|group| group.count == 1));
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let mut expired = Expired::new(TICK_NS);
        expired.add(&TwExit { timeout_jiffies: 0, ..made_up::exit() });
        expired.add(&TwExit { since_arming_ns: NONE_NS, ..made_up::exit() });
        assert!(expired.groups().is_empty());
        expired.add(&TwExit { lateness_ns: NONE_NS, ..made_up::exit() });
        assert!(expired.groups()[0].lateness.min > expired.groups()[0].lateness.max);
    }
}

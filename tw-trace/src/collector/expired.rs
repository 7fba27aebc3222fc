//! Why expiries took as long as they did: timer, wheel rounding and lateness, by timeout and wheel level.

use tw_trace_common::event::{NONE_NS, TwExit, Wheel};

use crate::wheel::modern::granularity_ns;

/// Different timeouts that are told apart; TIME_WAIT has one, so this is generous.
const MOST: usize = 8;
/// Timeouts that are nearest to the same multiple of this are one: reading the clock next to the arming can be
/// a jiffy off to either side, while those that somebody sets differ by whole seconds.
const UNIT_NS: u64 = 100_000_000;

/// How much later than asked for the timer's slot is due.
pub fn rounding_ns(tick_ns: u64, wheel: &Wheel) -> u64 {
    wheel.bucket.saturating_sub(wheel.expires).saturating_mul(tick_ns)
}

/// How much later than asked for the slot of an expired timer was due, from the moment of its arming: other than
/// [`rounding_ns`] it holds the part of a jiffy at which it was armed, and jiffies that were late themselves, so
/// that timeout, rounding and lateness make up the time since the arming.
pub fn expired_rounding_ns(tick_ns: u64, exit: &TwExit) -> u64 {
    if exit.since_arming_ns == NONE_NS || exit.lateness_ns == NONE_NS || exit.timeout_jiffies == 0 {
        return rounding_ns(tick_ns, &exit.wheel);
    }
    let timeout_ns = exit.timeout_jiffies.saturating_mul(tick_ns);
    exit.since_arming_ns.saturating_sub(timeout_ns).saturating_sub(exit.lateness_ns)
}

/// Expired sockets whose last timer asked for about the same time on the same wheel level.
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
    /// What the timers asked for.
    timeouts: Range,
    /// The timeouts' multiple of [`UNIT_NS`].
    units: u64,
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
    const fn new(level: u8, units: u64, granularity_ns: u64) -> Self {
        Self {
            level,
            count: 0,
            granularity_ns,
            waited: Range::EMPTY,
            rounding: Range::EMPTY,
            lateness: Range::EMPTY,
            timeouts: Range::EMPTY,
            units,
        }
    }

    /// What they asked for: the round time, or what comes nearest to it when all lie to one side.
    pub fn timeout_ns(&self) -> u64 {
        let round = self.units.saturating_mul(UNIT_NS);
        round.clamp(self.timeouts.min, self.timeouts.max)
    }

    fn add(&mut self, exit: &TwExit, timeout_ns: u64, tick_ns: u64) {
        self.count += 1;
        self.timeouts.add(timeout_ns);
        self.waited.add(exit.since_arming_ns);
        self.rounding.add(expired_rounding_ns(tick_ns, exit));
        if exit.lateness_ns != NONE_NS {
            self.lateness.add(exit.lateness_ns);
        }
    }
}

/// All expiries in TIME_WAIT proper whose start was seen.
pub struct Expired {
    tick_ns: u64,
    groups: Vec<Group>,
    /// Expiries in no group.
    otherwise: u64,
}

impl Expired {
    pub const fn new(tick_ns: u64) -> Self {
        Self { tick_ns, groups: Vec::new(), otherwise: 0 }
    }

    /// Groups by timeout, in the order of their first expiry.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Expiries in no group: their timer is not known, or there are too many different ones.
    pub const fn otherwise(&self) -> u64 {
        self.otherwise
    }

    pub fn add(&mut self, exit: &TwExit) {
        let tick_ns = self.tick_ns;
        let timeout_ns = exit.timeout_jiffies.saturating_mul(tick_ns);
        let known = timeout_ns != 0 && exit.since_arming_ns != NONE_NS;
        match if known { self.group(timeout_ns, exit.wheel.level) } else { None } {
            Some(group) => group.add(exit, timeout_ns, tick_ns),
            None => self.otherwise += 1,
        }
    }

    /// None when there are too many different timeouts.
    fn group(&mut self, timeout_ns: u64, level: u8) -> Option<&mut Group> {
        let units = timeout_ns.saturating_add(UNIT_NS / 2) / UNIT_NS;
        let known = self.groups.iter().position(|group| group.level == level && group.units == units);
        let index = match known {
            Some(index) => index,
            None if self.groups.len() == MOST => return None,
            None => {
                self.groups.push(Group::new(level, units, granularity_ns(self.tick_ns, level)));
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
    fn jiffies_off_are_the_same_timeout_whichever_comes_first() {
        let mut jiffies = [14_996, 15_000, 15_000, 15_003];
        for _ in 0..jiffies.len() {
            jiffies.rotate_left(1);
            let mut expired = Expired::new(TICK_NS);
            for timeout_jiffies in jiffies {
                expired.add(&TwExit { timeout_jiffies, ..made_up::exit() });
            }
            assert_eq!((expired.groups().len(), expired.otherwise()), (1, 0));
            told(&expired.groups()[0]);
        }
    }

    fn told(group: &Group) {
        assert_eq!((group.count, group.timeout_ns()), (4, 60 * made_up::SECOND));
        assert_eq!(group.granularity_ns, 2_048_000_000);
        assert_eq!(group.rounding, Range { min: 1_908_000_000, max: 1_936_000_000 });
        assert_eq!(group.lateness, Range { min: 3_000_000, max: 3_000_000 });
    }

    #[test]
    fn a_timeout_that_is_not_round_is_told_as_it_is() {
        let mut expired = Expired::new(TICK_NS);
        expired.add(&TwExit { timeout_jiffies: 15_009, ..made_up::exit() });
        assert_eq!(expired.groups()[0].timeout_ns(), 60_036 * 1_000_000);
    }

    #[test]
    fn other_timeouts_and_levels_are_other_groups_and_what_is_beyond_the_bound_is_counted() {
        let mut expired = Expired::new(TICK_NS);
        for jiffies in 1..=100 {
            expired.add(&TwExit { timeout_jiffies: jiffies * 250, ..made_up::exit() });
        }
        assert_eq!(expired.groups().len(), MOST);
        assert!(expired.groups().iter().all(|group| group.count == 1));
        assert_eq!(expired.otherwise(), 100 - MOST as u64);
    }

    #[test]
    fn what_is_unknown_is_in_no_group() {
        let mut expired = Expired::new(TICK_NS);
        expired.add(&TwExit { timeout_jiffies: 0, ..made_up::exit() });
        expired.add(&TwExit { since_arming_ns: NONE_NS, ..made_up::exit() });
        assert_eq!((expired.groups().len(), expired.otherwise()), (0, 2));
        expired.add(&TwExit { lateness_ns: NONE_NS, ..made_up::exit() });
        assert!(expired.groups()[0].lateness.min > expired.groups()[0].lateness.max);
    }
}

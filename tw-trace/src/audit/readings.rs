//! The kernel's counters around a run, and how much they grew, as intervals.

use super::interval::Interval;
use super::unread::Unreadable;
use super::{CountedAt, End, Namespace, Snapshot, Start, TW, TW_KILLED, TW_RECYCLED};

/// The four snapshots around a run.
pub(super) struct Readings {
    pub(super) start: [Snapshot; 2],
    pub(super) end: [Snapshot; 2],
}

pub(super) fn readings(namespace: &Namespace) -> Result<Readings, Unreadable> {
    let start = match &namespace.start {
        Start::Read { before, after } => [before.clone(), after.clone()],
        Start::Created => [Snapshot::default(), Snapshot::default()],
    };
    match &namespace.end {
        End::Read { before, after } => Ok(Readings { start, end: [before.clone(), after.clone()] }),
        End::Gone => Err(Unreadable::Gone),
        End::Unreadable(why) => Err(Unreadable::Because(why.clone())),
    }
}

impl Readings {
    /// How much these counters together grew during the run; None when the kernel does not have them all.
    pub(super) fn growth(&self, names: &[&str]) -> Option<Interval> {
        let sum = |snapshot: &Snapshot| names.iter().map(|name| snapshot.tcpext.get(*name).copied()).sum();
        let end: [Option<u64>; 2] = [sum(&self.end[0]), sum(&self.end[1])];
        // A namespace that did not exist yet had counted nothing.
        let start = [sum(&self.start[0]).unwrap_or(0), sum(&self.start[1]).unwrap_or(0)];
        Some(Interval { low: end[0]?.saturating_sub(start[1]), high: end[1]?.saturating_sub(start[0]) })
    }

    /// How much these counters together grew between the last two snapshots.
    fn last_growth(&self, names: &[&str]) -> u64 {
        let sum =
            |snapshot: &Snapshot| -> u64 { names.iter().filter_map(|name| snapshot.tcpext.get(*name)).sum() };
        sum(&self.end[1]).saturating_sub(sum(&self.end[0]))
    }

    /// How many time-wait sockets there were at the moment of detaching.
    pub(super) fn living(&self, counted_at: CountedAt) -> Interval {
        let (before, after) = (self.end[0].tw, self.end[1].tw);
        let new = match counted_at {
            CountedAt::Arming => self.last_growth(&[TW, TW_KILLED]),
            // Entries are not counted; all that ended and was counted, and what came on top, must have entered.
            CountedAt::Firing => {
                after.saturating_sub(before) + self.last_growth(&[TW, TW_KILLED, TW_RECYCLED])
            }
        };
        Interval { low: after.saturating_sub(new).min(before), high: before + new }
    }
}

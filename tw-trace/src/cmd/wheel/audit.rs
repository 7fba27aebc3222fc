//! Whether the wheel's counts add up, among themselves and with the kernel's own counters. Pure.

use tw_trace_common::counter::{Counter, CounterKind};

use super::frame::{Bursts, Sums, Wheels};
use crate::{
    audit::{Growth, Scope, WITH_DCCP, growth},
    watch::End,
};

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// None where it cannot be claimed.
    pub balanced: Option<bool>,
    pub problems: Vec<String>,
    pub unaudited: Vec<String>,
    /// Sockets that came and neither went nor are there.
    pub lost: u64,
    pub lost_by: Vec<(Counter, u64)>,
    pub notes: Vec<(Counter, u64)>,
}

/// Adds up the whole run. `one_namespace`: it was about one, and not about all that there are.
pub fn verdict(sums: &Sums, bursts: &Bursts, wheels: &Wheels, end: &End, one_namespace: bool) -> Verdict {
    let counted = |kinds: &[CounterKind]| -> Vec<(Counter, u64)> {
        let all = Counter::ALL.iter().filter(|counter| kinds.contains(&counter.kind()));
        all.map(|&counter| (counter, end.counters[counter as usize]))
            .filter(|(_, count)| *count > 0)
            .collect()
    };
    let lost_by = counted(&[CounterKind::LostRecord, CounterKind::LostSocket]);
    let mut verdict = Verdict {
        lost: wheels.overdue + sums.rearms.saturating_sub(sums.restarted),
        notes: counted(&[CounterKind::Note]),
        lost_by,
        ..Verdict::default()
    };
    verdict.hold_itself(sums, bursts, wheels);
    verdict.hold_the_kernel(sums, wheels, end, one_namespace);
    verdict.balanced = if !verdict.problems.is_empty() {
        Some(false)
    } else if end.uncovered.is_empty() {
        Some(true)
    } else {
        None
    };
    verdict
}

impl Verdict {
    fn hold_itself(&mut self, sums: &Sums, bursts: &Bursts, wheels: &Wheels) {
        let Sums { seeded, entered, .. } = sums;
        let (came, exited, live) = (seeded + entered, sums.ended(), wheels.timers);
        let lost = self.lost;
        if came != exited + live + lost {
            self.problems.push(format!(
                "timers: {seeded} seeded + {entered} entered = {came}, but {exited} exited + {live} live + {lost} \
                 lost = {}",
                exited + live + lost
            ));
        }
        let (fired, in_bursts) = (sums.fired(), bursts.timers());
        if fired != in_bursts {
            self.problems.push(format!("bursts: {fired} timers fired, but the bursts hold {in_bursts}"));
        }
        let dropped: u64 = self.lost_by.iter().map(|(_, count)| count).sum();
        if dropped > 0 {
            self.problems.push(format!("{dropped} events were not seen, so some figures are too low"));
        }
    }

    fn hold_the_kernel(&mut self, sums: &Sums, wheels: &Wheels, end: &End, one_namespace: bool) {
        if let Scope::Filtered(filters) = &end.scope {
            self.unaudited.push(format!(
                "the kernel counts whole namespaces, this run only what {filters} selects: nothing to compare with"
            ));
            return;
        }
        if end.counters[Counter::Dccp as usize] > 0 {
            self.unaudited.push(WITH_DCCP.to_owned());
            return;
        }
        let (Growth { armed, living }, unread) = growth(&end.namespaces, end.counted_at);
        if sums.unknown > 0 {
            self.unaudited.push(format!(
                "{} timers of before the start ended uncounted: what was taken for them may have been others'",
                sums.unknown
            ));
            return;
        }
        let is_all = one_namespace && unread.is_empty();
        self.unaudited.extend(unread);
        if let Some(armed) = armed {
            self.hold("new time-wait sockets (TW+TWKilled)", armed, sums.entered, is_all);
        }
        self.hold("living time-wait sockets (sockstat tw)", living, wheels.timers, is_all);
    }

    /// Of namespaces that nobody shows, the kernel's counters cannot be read: then ours may be more.
    fn hold(&mut self, what: &str, (low, high): (u64, u64), ours: u64, is_all: bool) {
        let kernel = if low == high { low.to_string() } else { format!("{low}–{high}") };
        let said = format!("the kernel counted {kernel} {what}, tw-trace {ours}");
        if ours < low || (is_all && ours > high) {
            self.problems.push(said);
        } else if ours > high {
            self.unaudited.push(format!("{said}: some are of namespaces that were not read"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::{CountedAt, End as NamespaceEnd, Namespace, Snapshot, Start},
        collector::KernelTotals,
    };

    fn snapshot(tw_ever: u64, tw: u64) -> Snapshot {
        let tcpext = [("TW".to_owned(), tw_ever), ("TWKilled".to_owned(), 0)].into();
        Snapshot { tcpext, tw }
    }

    fn end(entered: u64, living: u64) -> End {
        let namespace = Namespace {
            id: 1,
            inode: 1,
            start: Start::Read { before: snapshot(100, 0), after: snapshot(100, 0) },
            end: NamespaceEnd::Read {
                before: snapshot(100 + entered, living),
                after: snapshot(100 + entered, living),
            },
        };
        End {
            namespaces: vec![namespace],
            counted_at: CountedAt::Arming,
            scope: Scope::Whole,
            counters: KernelTotals::default().counters,
            uncovered: Vec::new(),
            from_ns: 0,
            to_ns: 1,
        }
    }

    fn fired(timers: u64) -> (Sums, Bursts) {
        let mut bursts = Bursts::default();
        bursts.sizes.insert(timers);
        (Sums { entered: 10, exited: [0, timers, 0, 0, 0, 0, 0, 0], ..Sums::default() }, bursts)
    }

    #[test]
    fn what_adds_up_is_balanced() {
        let (sums, bursts) = fired(6);
        let wheels = Wheels { timers: 4, ..Wheels::default() };
        let verdict = verdict(&sums, &bursts, &wheels, &end(10, 4), true);
        assert_eq!((verdict.balanced, verdict.problems), (Some(true), Vec::new()));
    }

    #[test]
    fn each_thing_that_does_not_is_said() {
        let (sums, bursts) = fired(6);
        let wheels = Wheels { timers: 4, ..Wheels::default() };
        let said = |sums: &Sums, bursts: &Bursts, wheels: &Wheels, end: &End| {
            let verdict = verdict(sums, bursts, wheels, end, true);
            assert_eq!(verdict.balanced, Some(false));
            verdict.problems.join("; ")
        };
        let three = Wheels { timers: 3, ..Wheels::default() };
        assert!(said(&sums, &bursts, &three, &end(10, 3)).contains("10 entered = 10, but 6 exited + 3 live"));
        assert!(
            said(&sums, &Bursts::default(), &wheels, &end(10, 4)).contains("6 timers fired, but the bursts")
        );
        assert!(said(&sums, &bursts, &wheels, &end(12, 4)).contains("the kernel counted 12 new"));
        assert!(said(&sums, &bursts, &wheels, &end(10, 5)).contains("5 living"));
        let mut dropped = end(10, 4);
        dropped.counters[Counter::Recursion as usize] = 1;
        assert!(said(&sums, &bursts, &wheels, &dropped).contains("1 events were not seen"));
    }

    #[test]
    fn where_the_kernel_counts_dccp_too_nothing_is_compared() {
        let (sums, bursts) = fired(6);
        let wheels = Wheels { timers: 4, ..Wheels::default() };
        let mut more = end(15, 9);
        assert_eq!(verdict(&sums, &bursts, &wheels, &more, false).balanced, Some(false));
        more.counters[Counter::Dccp as usize] = 5;
        let verdict = verdict(&sums, &bursts, &wheels, &more, false);
        assert_eq!((verdict.balanced, verdict.unaudited), (Some(true), vec![WITH_DCCP.to_owned()]));
    }

    #[test]
    fn namespaces_that_nobody_shows_are_no_problem() {
        let (sums, bursts) = fired(6);
        let wheels = Wheels { timers: 4, ..Wheels::default() };
        let verdict = verdict(&sums, &bursts, &wheels, &end(8, 2), false);
        assert_eq!(verdict.balanced, Some(true));
        assert_eq!(verdict.unaudited.len(), 2);
    }
}

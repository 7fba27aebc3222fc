//! The kernel's own counters (TcpExt, sockstat) held against tw-trace's, per network namespace. Pure.
//!
//! Reading counters and attaching programs is not one step, so a counter's growth during the run is only
//! known as an interval: at least from after attaching to before detaching, at most the other way round.

use std::collections::{BTreeMap, BTreeSet};

use tw_trace_common::counter::Counter;
use tw_trace_common::followed::Ledger;
use tw_trace_common::state::ExitReason;

use crate::collector::KernelTotals;
use readings::{Readings, readings};
pub use together::{Growth, growth};
use unread::{Unread, Unreadable};

mod interval;
mod readings;
#[cfg(test)]
mod tests;
mod together;
mod unread;

const TW: &str = "TW";
const TW_KILLED: &str = "TWKilled";
const TW_RECYCLED: &str = "TWRecycled";
const TW_OVERFLOW: &str = "TCPTimeWaitOverflow";
/// The key of /proc/net/sockstat's `tw` among the deltas.
const SOCKSTAT_TW: &str = "sockstat_tw";

/// Since 6.1 (`inet_twsk_schedule`), and before where they expire.
pub const WITH_DCCP: &str = "there were time-wait sockets of DCCP, which the kernel counts with those of TCP: nothing to compare with";

/// The kernel's counters of one network namespace at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// /proc/net/netstat, line TcpExt: those that concern TIME_WAIT.
    pub tcpext: BTreeMap<String, u64>,
    /// /proc/net/sockstat, `tw`: living mini-sockets of both substates.
    pub tw: u64,
}

/// When this kernel counts a time-wait socket in `TW` or `TWKilled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedAt {
    /// When its timer is first armed (6.1 and later).
    Arming,
    /// When its timer fires (kernels whose `inet_timewait_sock` has a `tw_kill`, as 5.10).
    Firing,
}

/// What the run looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every socket of the namespaces in question.
    Whole,
    /// Only the sockets that these filters (as given) select.
    Filtered(String),
}

/// A namespace's counters when the programs were attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Right before the first program was attached, and right after the last one was and all were seeded.
    Read { before: Snapshot, after: Snapshot },
    /// The namespace came later: its counters began at zero.
    Created,
}

/// A namespace's counters when the programs were detached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Right before the first program was detached, and right after the last one was.
    Read {
        before: Snapshot,
        after: Snapshot,
    },
    Gone,
    /// With the reason.
    Unreadable(String),
}

/// One network namespace of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// The key of its ledger: its cookie, or its inode where the kernel has no cookies.
    pub id: u64,
    pub inode: u32,
    pub start: Start,
    pub end: End,
}

/// What came of the comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Growth of each counter from before attaching to after detaching, summed over readable namespaces.
    pub deltas: BTreeMap<String, i64>,
    /// Growth of TCPTimeWaitOverflow; None when no namespace's could be read.
    pub overflow: Option<u64>,
    /// Disagreements, one sentence each.
    pub problems: Vec<String>,
    /// What could not be compared, and why.
    pub unaudited: Vec<String>,
}

/// Compares the ledgers with the kernel's counters.
pub fn audit(namespaces: &[Namespace], totals: &KernelTotals, counted_at: CountedAt, scope: &Scope) -> Audit {
    let mut audit = Audit { unaudited: not_comparable(totals, scope), ..Audit::default() };
    let comparable = audit.unaudited.is_empty();
    let unseeded = totals.counter(Counter::SeedMapFull);
    let mut unread = Unread::default();
    for namespace in namespaces {
        let ledger = totals.ledgers.get(&namespace.id).copied().unwrap_or_default();
        match readings(namespace) {
            Ok(readings) => {
                audit.add_deltas(&readings);
                if comparable {
                    let began = match namespace.start {
                        Start::Read { .. } => Began::Known,
                        Start::Created => Began::Unknown,
                    };
                    let overflows = totals.watched.overflows.then(|| totals.counter(Counter::Recursion));
                    let inode = namespace.inode;
                    let case = Case { inode, readings, ledger, counted_at, unseeded, began, overflows };
                    case.compare(&mut audit);
                }
            }
            Err(why) => unread.add(why, namespace.inode.into(), &ledger),
        }
    }
    let listed: BTreeSet<u64> = namespaces.iter().map(|namespace| namespace.id).collect();
    for (id, ledger) in &totals.ledgers {
        if !listed.contains(id) && *id != 0 && ledger.is_used() {
            unread.add(Unreadable::NotRead, ledger.inode, ledger);
        }
    }
    unread.add_gone(&totals.gone);
    if totals.watched.time_waits {
        audit.unaudited.extend(unread.lines());
    }
    audit.problems = shortened(audit.problems);
    audit.unaudited = shortened(audit.unaudited);
    audit
}

/// Lines of one kind that are told; a thousand namespaces would make a thousand.
const MOST_LINES: usize = 12;

fn shortened(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(MOST_LINES);
    if more > 0 {
        lines.truncate(MOST_LINES);
        lines.push(format!("and {more} more like these"));
    }
    lines
}

/// Why no namespace at all can be compared.
fn not_comparable(totals: &KernelTotals, scope: &Scope) -> Vec<String> {
    if !totals.watched.time_waits {
        return vec!["this run did not watch time-wait sockets: nothing to compare with".to_owned()];
    }
    let mut why = Vec::new();
    if let Scope::Filtered(filters) = scope {
        why.push(format!(
            "the kernel counts whole namespaces, this run only what {filters} selects: nothing to compare with"
        ));
    }
    if totals.counter(Counter::Dccp) > 0 {
        why.push(WITH_DCCP.to_owned());
    }
    if let Some(together) = totals.ledgers.get(&0).filter(|ledger| ledger.is_used()) {
        let Ledger { entered, exited, .. } = together;
        let exited: u64 = exited.iter().sum();
        why.push(format!(
            "{entered} entered and {exited} exited sockets could not be put down to a network namespace (there are too many of them): \
             nothing to compare with"
        ));
    }
    why
}

impl Audit {
    fn add_deltas(&mut self, readings: &Readings) {
        let [before, _] = &readings.start;
        let [_, after] = &readings.end;
        for (name, &end) in &after.tcpext {
            let start = before.tcpext.get(name).copied().unwrap_or(0);
            *self.deltas.entry(name.clone()).or_default() += difference(end, start);
            if name == TW_OVERFLOW {
                *self.overflow.get_or_insert_default() += end.saturating_sub(start);
            }
        }
        *self.deltas.entry(SOCKSTAT_TW.to_owned()).or_default() += difference(after.tw, before.tw);
    }
}

fn difference(end: u64, start: u64) -> i64 {
    end.wrapping_sub(start).cast_signed()
}

/// One namespace's figures from both sides.
struct Case {
    inode: u32,
    readings: Readings,
    ledger: Ledger,
    counted_at: CountedAt,
    /// Sockets of before the start that had no room in the map.
    unseeded: u64,
    began: Began,
    /// Where overflows were watched one by one: how many of them may have been passed over.
    overflows: Option<u64>,
}

/// Whether a namespace's counters at the start are known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Began {
    Known,
    Unknown,
}

impl Case {
    fn compare(&self, audit: &mut Audit) {
        let ledger = &self.ledger;
        let exited = |reason: ExitReason| ledger.exited[reason as usize];
        let unreasoned = exited(ExitReason::Unknown) + ledger.untracked + ledger.missed + ledger.unknown;
        match self.counted_at {
            CountedAt::Arming => {
                self.hold(audit, "new time-wait sockets", &[TW, TW_KILLED], ledger.entered, 0);
            }
            CountedAt::Firing => {
                let expired = exited(ExitReason::Expired);
                self.hold(audit, "time-wait sockets that expired", &[TW, TW_KILLED], expired, unreasoned);
            }
        }
        let reused = exited(ExitReason::Reused);
        self.hold(audit, "reused time-wait sockets", &[TW_RECYCLED], reused, unreasoned);
        if let Some(passed_over) = self.overflows {
            let what = "connections that skipped TIME_WAIT";
            self.hold(audit, what, &[TW_OVERFLOW], ledger.overflow, passed_over);
        }
        self.hold_living(audit);
    }

    /// `ours`, plus at most `hidden` of those that we could not tell, must be what the kernel counted.
    fn hold(&self, audit: &mut Audit, what: &str, names: &[&str], ours: u64, hidden: u64) {
        let counters = names.join("+");
        let Some(kernel) = self.readings.growth(names) else {
            let why = format!("this kernel has no counter {counters}");
            if !audit.unaudited.contains(&why) {
                audit.unaudited.push(why);
            }
            return;
        };
        if !kernel.meets(ours, ours + hidden) {
            self.object(
                audit,
                format!(
                    "namespace {}: the kernel counted {kernel} {what} ({counters}), tw-trace {ours}",
                    self.inode
                ),
            );
        }
    }

    /// A disagreement; no proof against a namespace of which it is not known when its counters began.
    fn object(&self, audit: &mut Audit, what: String) {
        match self.began {
            Began::Known => audit.problems.push(what),
            Began::Unknown => audit.unaudited.push(format!(
                "{what}; but it was first seen at the end and may have been there, hidden, before the start"
            )),
        }
    }

    fn hold_living(&self, audit: &mut Audit) {
        let Ledger {
            seeded,
            entered,
            exited,
            untracked,
            missed,
            rearms: _,
            unknown: _,
            overflow: _,
            inode: _,
        } = self.ledger;
        let ended = exited.iter().sum::<u64>() + untracked + missed;
        let kernel = self.readings.living(self.counted_at);
        let ours = (seeded + entered).checked_sub(ended);
        if !ours.is_some_and(|ours| kernel.meets(ours, ours + untracked + self.unseeded)) {
            self.object(audit, format!(
                "namespace {}: at the end the kernel had {kernel} living time-wait sockets (sockstat tw), \
                 tw-trace {seeded} seeded + {entered} entered - {ended} ended or lost",
                self.inode
            ));
        }
    }
}

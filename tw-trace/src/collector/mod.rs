//! Records in, figures out: the state of a run in user space. Pure: no clock, no I/O.
//!
//! Nothing is kept per connection: exit records are self-contained, so a lost record costs its own line only.

mod durations;
mod expired;
mod owners;
mod totals;

use tw_trace_common::counter::{Counter, CounterKind, of_kind};
use tw_trace_common::event::{Kind, NONE_NS, TwExit};
use tw_trace_common::state::{Entered, ExitReason, Substate};

pub use durations::{Durations, Spread};
pub use expired::{Expired, Group as ExpiredGroup, Range, expired_rounding_ns, rounding_ns};
pub use owners::{Owners, Top as TopOwners};
pub use totals::{Gone, KernelTotals, Watched};

use crate::audit::Audit;
use crate::decode::Record;
use crate::sink::histogram::bars;
use crate::summary::{Records, Summary};

/// Owners that the summary names.
const TOP_OWNERS: usize = 5;

/// What the delivered records of a run add up to.
pub struct Collector {
    tick_ns: u64,
    /// Records by [`Kind`], counted from one.
    delivered: [u64; Kind::ALL.len() + 1],
    /// Exit records by [`ExitReason`].
    exits: [u64; ExitReason::ALL.len()],
    /// Time in TIME_WAIT proper by [`ExitReason`], where it is exactly known.
    lifetimes: [Durations; ExitReason::ALL.len()],
    /// Exits from TIME_WAIT proper whose time there is not exactly known.
    estimated: u64,
    fin_wait2: Durations,
    expired: Expired,
    owners: Owners,
}

impl Collector {
    pub fn new(tick_ns: u64) -> Self {
        Self {
            tick_ns,
            delivered: [0; Kind::ALL.len() + 1],
            exits: [0; ExitReason::ALL.len()],
            lifetimes: std::array::from_fn(|reason| Durations::new(precision(ExitReason::ALL[reason]))),
            estimated: 0,
            fin_wait2: Durations::new(durations::COARSE),
            expired: Expired::new(tick_ns),
            owners: Owners::default(),
        }
    }

    pub fn observe(&mut self, record: &Record) {
        self.delivered[record.kind() as usize] += 1;
        match record {
            Record::TwExit(exit) => self.observe_exit(exit),
            Record::State(_) | Record::TwEnter(_) | Record::TwRearm(_) | Record::TwOverflow(_) => {}
        }
    }

    fn observe_exit(&mut self, exit: &TwExit) {
        let reason = usize::from(exit.reason).min(ExitReason::ALL.len() - 1);
        self.exits[reason] += 1;
        self.owners.add(&exit.owner);
        let dated = exit.entered == Entered::Exact as u8;
        if dated && exit.fin_wait2_ns != 0 && exit.fin_wait2_ns != NONE_NS {
            self.fin_wait2.add(exit.fin_wait2_ns);
        }
        if exit.substate == Substate::TimeWait as u8 {
            if dated && exit.duration_ns != NONE_NS {
                self.observe_lifetime(exit, reason);
            } else {
                self.estimated += 1;
            }
        }
    }

    fn observe_lifetime(&mut self, exit: &TwExit, reason: usize) {
        self.lifetimes[reason].add(exit.duration_ns);
        if exit.reason == ExitReason::Expired as u8 {
            self.expired.add(exit);
        }
    }

    /// Records of this kind that arrived.
    pub fn delivered(&self, kind: Kind) -> u64 {
        self.delivered[kind as usize]
    }

    /// Adds up the run: what arrived against what the kernel side made, and both against the kernel's counters.
    pub fn finish(&self, totals: &KernelTotals, audit: Audit) -> Summary {
        let sum = totals.sum();
        let records = self.records(totals);
        let mut unbalanced = totals.socket_problems();
        unbalanced.extend(records.iter().filter_map(Records::problem));
        if totals.watched.time_waits {
            unbalanced.extend(self.exit_problems(&sum.exited));
        }
        unbalanced.extend(audit.problems);
        let lost_by = totals.nonzero(&[CounterKind::LostRecord, CounterKind::LostSocket]);
        let lifetimes = Durations::merged(&self.lifetimes);
        Summary {
            mono_ns: totals.to_mono_ns,
            elapsed_ns: totals.to_mono_ns.saturating_sub(totals.from_mono_ns),
            tick_ns: self.tick_ns,
            filtered: totals.filtered,
            sockets: totals.sockets(),
            exited: totals.watched.time_waits.then_some(sum.exited),
            states: totals.watched.states.then_some(totals.counter(Counter::States)),
            rearms: totals.watched.time_waits.then_some(sum.rearms),
            overflow: overflow(totals, audit.overflow),
            lost: lost_by.iter().map(|(_, count)| count).sum(),
            lost_by,
            notes: totals.nonzero(&[CounterKind::Note]),
            records,
            kernel: audit.deltas,
            balanced: match (unbalanced.as_slice(), totals.uncovered.as_slice()) {
                ([], []) => Some(true),
                ([], _) => None,
                (_, _) => Some(false),
            },
            unbalanced,
            uncovered: totals.uncovered.clone(),
            unaudited: audit.unaudited,
            duration: lifetimes.spread(),
            estimated: self.estimated,
            duration_by_reason: std::array::from_fn(|reason| self.lifetimes[reason].spread()),
            fin_wait2: self.fin_wait2.spread(),
            bars: bars(&lifetimes.values()),
            expired: self.expired.groups().to_vec(),
            expired_otherwise: self.expired.otherwise(),
            owners: self.owners.top(TOP_OWNERS),
        }
    }

    fn records(&self, totals: &KernelTotals) -> Vec<Records> {
        Kind::ALL
            .iter()
            .map(|&kind| {
                let (made, lost) = of_kind(kind);
                Records {
                    kind,
                    made: totals.counter(made),
                    delivered: self.delivered(kind),
                    lost: totals.counter(lost),
                }
            })
            .collect()
    }

    /// Every delivered exit was counted in the kernel first, under the same reason.
    fn exit_problems(&self, counted: &[u64; 8]) -> Vec<String> {
        ExitReason::ALL
            .iter()
            .map(|&reason| (reason, self.exits[reason as usize], counted[reason as usize]))
            .filter(|(_, delivered, counted)| delivered > counted)
            .map(|(reason, delivered, counted)| {
                format!(
                    "{delivered} tw_exit records arrived with the reason {}, but only {counted} such ends \
                     were counted",
                    reason.name()
                )
            })
            .collect()
    }
}

/// Expiries lie within seconds of a minute, and the shape of those seconds is what people look for.
fn precision(reason: ExitReason) -> u8 {
    match reason {
        ExitReason::Expired => durations::FINE,
        ExitReason::Unknown
        | ExitReason::Reused
        | ExitReason::NewSyn
        | ExitReason::Rst
        | ExitReason::ResetSent
        | ExitReason::Killed
        | ExitReason::NetnsGone => durations::COARSE,
    }
}

/// The kernel counts every overflow of a namespace, tw-trace those that the filters select. That none was made
/// says nothing: not every backend can see them.
fn overflow(totals: &KernelTotals, kernel: Option<u64>) -> Option<u64> {
    let made = totals.counter(Counter::MadeTwOverflow);
    let told = (totals.watched.overflows || made > 0).then(|| totals.sum().overflow.max(made));
    let counted = kernel.filter(|_| !totals.filtered && totals.watched.time_waits);
    told.max(counted)
}

#[cfg(test)]
mod tests;

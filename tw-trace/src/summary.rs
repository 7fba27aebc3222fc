//! What a run came to: the last line of every output, as plain figures.

use std::collections::BTreeMap;

use tw_trace_common::counter::Counter;
use tw_trace_common::event::Kind;

use crate::collector::{ExpiredGroup, Spread, TopOwners};
use crate::sink::histogram::Bar;

/// The figures of a finished run. Counts are the kernel side's; durations come from the delivered records.
/// None is what the run did not watch, or could not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// CLOCK_MONOTONIC at the end.
    pub mono_ns: u64,
    pub elapsed_ns: u64,
    pub tick_ns: u64,
    /// The figures are those of the sockets that the filters select.
    pub filtered: bool,
    pub sockets: Option<Sockets>,
    /// By `ExitReason`.
    pub exited: Option<[u64; 8]>,
    /// State changes of full sockets.
    pub states: Option<u64>,
    pub rearms: Option<u64>,
    /// Connections that skipped TIME_WAIT.
    pub overflow: Option<u64>,
    /// Records and sockets lost.
    pub lost: u64,
    pub lost_by: Vec<(Counter, u64)>,
    pub notes: Vec<(Counter, u64)>,
    pub records: Vec<Records>,
    /// Deltas of the kernel's own counters, summed over the audited namespaces.
    pub kernel: BTreeMap<String, i64>,
    /// All of it adds up: what was lost was counted. None where that cannot be claimed.
    pub balanced: Option<bool>,
    /// Why it does not.
    pub unbalanced: Vec<String>,
    /// Why it cannot be claimed: what nobody watched and nothing counted.
    pub uncovered: Vec<String>,
    /// What could not be held against the kernel's counters, and why.
    pub unaudited: Vec<String>,
    /// Time in TIME_WAIT proper, of delivered exits whose start was seen.
    pub duration: Option<Spread>,
    /// Delivered exits from TIME_WAIT proper whose start was not seen: in no figure of durations.
    pub estimated: u64,
    /// The same by `ExitReason`.
    pub duration_by_reason: [Option<Spread>; 8],
    /// Time in the FIN_WAIT2 substate, of those whose start was seen.
    pub fin_wait2: Option<Spread>,
    /// Durations in TIME_WAIT proper, as they are drawn.
    pub bars: Vec<Bar>,
    pub expired: Vec<ExpiredGroup>,
    /// Expiries with a known duration that are in no group.
    pub expired_otherwise: u64,
    pub owners: TopOwners,
}

/// `seeded + entered = exited + live + lost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// In TIME_WAIT before the start.
    pub seeded: u64,
    pub entered: u64,
    pub exited: u64,
    pub live: u64,
    /// Entered or seeded, but their end cannot be told.
    pub lost: u64,
}

/// `made = delivered + lost` for one kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records {
    pub kind: Kind,
    pub made: u64,
    pub delivered: u64,
    pub lost: u64,
}

impl Records {
    /// What does not add up.
    pub fn problem(&self) -> Option<String> {
        let Self { kind, made, delivered, lost } = *self;
        let sum = delivered + lost;
        (made != sum).then(|| {
            format!("{} records: {made} made, but {delivered} delivered + {lost} lost = {sum}", kind.name())
        })
    }
}

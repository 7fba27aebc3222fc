//! What the kernel side counted, and whether its socket ledger adds up.

use std::collections::BTreeMap;

use tw_trace_common::counter::{COUNT, Counter, CounterKind};
use tw_trace_common::event::Kind;
use tw_trace_common::followed::Ledger;

use crate::summary::Sockets;

/// The kernel side's own figures at the end of a run, summed over CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelTotals {
    /// By cookie of the network namespace (or its inode); zero holds the events of those that had no room.
    pub ledgers: BTreeMap<u64, Ledger>,
    /// Namespaces that are gone and that are not told apart any more.
    pub gone: Gone,
    /// By [`Counter`].
    pub counters: [u64; COUNT as usize],
    /// Followed sockets that were still there at the end.
    pub live: u64,
    /// Filters were on: the figures are those of the sockets they select.
    pub filtered: bool,
    pub watched: Watched,
    /// What nobody watched and nothing counted, though the run is about it.
    pub uncovered: Vec<String>,
    /// CLOCK_MONOTONIC when the first program was attached.
    pub from_mono_ns: u64,
    /// CLOCK_MONOTONIC when the last one was detached.
    pub to_mono_ns: u64,
}

/// Network namespaces that are gone, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    pub namespaces: u64,
    pub ledger: Ledger,
}

/// What the run looked at at all: a zero of something that nobody watched would be a false statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// State changes of full sockets.
    pub states: bool,
    /// Beginnings, re-arms and ends of time-wait sockets.
    pub time_waits: bool,
    /// Connections that skip TIME_WAIT, one by one.
    pub overflows: bool,
}

impl Default for Watched {
    fn default() -> Self {
        Self { states: true, time_waits: true, overflows: false }
    }
}

impl Watched {
    /// What a run watches that streams these kinds of record (a mask of [`Kind::bit`]) on any kernel.
    pub fn streaming(kinds: u16) -> Self {
        Self {
            states: kinds & Kind::State.bit() != 0,
            time_waits: kinds & !Kind::State.bit() != 0,
            overflows: false,
        }
    }
}

impl KernelTotals {
    pub const fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }

    /// The counters of these kinds that counted something.
    pub fn nonzero(&self, kinds: &[CounterKind]) -> Vec<(Counter, u64)> {
        Counter::ALL
            .iter()
            .filter(|counter| kinds.contains(&counter.kind()))
            .map(|&counter| (counter, self.counter(counter)))
            .filter(|&(_, count)| count > 0)
            .collect()
    }

    /// The ledger of all namespaces together.
    pub fn sum(&self) -> Ledger {
        self.ledgers.values().fold(self.gone.ledger, |sum, ledger| sum.plus(ledger))
    }

    /// None when time-wait sockets were not watched.
    pub fn sockets(&self) -> Option<Sockets> {
        if !self.watched.time_waits {
            return None;
        }
        let sum = self.sum();
        Some(Sockets {
            seeded: sum.seeded,
            entered: sum.entered,
            exited: sum.exited.iter().sum(),
            live: self.live,
            lost: sum.untracked + sum.missed,
        })
    }

    /// What does not add up in `seeded + entered = exited + live + lost`.
    pub fn socket_problems(&self) -> Vec<String> {
        let Some(sockets) = self.sockets() else { return Vec::new() };
        let Sockets { seeded, entered, exited, live, lost } = sockets;
        let (came, went) = (seeded + entered, exited + live + lost);
        if came == went {
            return Vec::new();
        }
        vec![format!(
            "sockets: {seeded} seeded + {entered} entered = {came}, but {exited} exited + {live} live + {lost} \
             lost = {went}"
        )]
    }
}

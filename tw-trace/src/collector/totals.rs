//! What the kernel side counted, and whether its socket ledger adds up.

use std::collections::BTreeMap;

use tw_trace_common::config::Ledger;
use tw_trace_common::counter::{COUNT, Counter, CounterKind};

use crate::summary::Sockets;

/// The kernel side's own figures at the end of a run, summed over CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelTotals {
    /// By inode of the network namespace; zero holds the events of namespaces that had no room in the map.
    pub ledgers: BTreeMap<u32, Ledger>,
    /// By [`Counter`].
    pub counters: [u64; COUNT as usize],
    /// Followed sockets that were still there at the end.
    pub live: u64,
    /// Filters were on: the figures are those of the sockets they select.
    pub filtered: bool,
    /// CLOCK_MONOTONIC when the first program was attached.
    pub from_mono_ns: u64,
    /// CLOCK_MONOTONIC when the last one was detached.
    pub to_mono_ns: u64,
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
        self.ledgers.values().fold(Ledger::ZERO, |sum, ledger| sum.plus(ledger))
    }

    pub fn sockets(&self) -> Sockets {
        let sum = self.sum();
        Sockets {
            seeded: sum.seeded,
            entered: sum.entered,
            exited: sum.exited.iter().sum(),
            live: self.live,
            lost: sum.untracked + sum.missed,
        }
    }

    /// What does not add up in `seeded + entered = exited + live + lost`.
    pub fn socket_problems(&self) -> Vec<String> {
        let Sockets { seeded, entered, exited, live, lost } = self.sockets();
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

//! Time-wait sockets that went without an event: still followed at the end of a run, and no longer the kernel's.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use tw_trace_common::{
    config::{Cell, Phase},
    counter::Counter,
    followed::{FOUND, TimeWait},
};

use super::{
    clock::kernel_ns,
    followed::Keep,
    load::Loaded,
    plan::{Plan, Serves},
    snapshots::Snapshots,
    tick::Tick,
};

/// A look at the kernel's own list of time-wait sockets, which marked those that are followed.
pub struct Check {
    /// The jiffy at which it began.
    began: u64,
    /// Keys of the ledgers of the namespaces whose sockets were listed.
    namespaces: BTreeSet<u64>,
}

impl Loaded {
    /// Marks what is followed and still on the kernel's list. Nothing, if no more is followed than the kernel has
    /// (`living`, by its own count, where that is to be compared), or if this kernel cannot list it. The programs go on,
    /// but what they tell waits meanwhile.
    pub fn check(
        &mut self,
        plan: &Plan,
        snapshots: &mut Snapshots,
        living: Option<u64>,
        tick: Tick,
        duties: &mut dyn FnMut(&mut Self) -> Result<()>,
    ) -> Result<Option<Check>> {
        let followed = self.whole_ledger()?.living();
        if followed <= living.unwrap_or(0) || plan.program(Serves::Seeds).is_none() {
            return Ok(None);
        }
        self.set_phase(Phase::Checking)?;
        let now = kernel_ns()?;
        let began = now.wrapping_sub(self.cell(Cell::JiffyZeroNs)?) / tick.ns;
        let walks = self.walks(plan)?;
        // Of a namespace that cannot be entered, nothing is known.
        let namespaces = snapshots.list(&walks, &mut || duties(self))?;
        Ok(Some(Check { began, namespaces }))
    }

    /// Once everything is detached: books as missed what the check did not find though its timer was due by then.
    pub fn book_unseen(&mut self, check: &Check) -> Result<()> {
        let mut by_namespace = BTreeMap::<u64, u64>::new();
        self.each_followed(|known| {
            if !check.is_gone(known) {
                return Keep::Yes;
            }
            *by_namespace.entry(known.net.into()).or_default() += 1;
            Keep::No
        })?;
        for (net, &count) in &by_namespace {
            self.book_missed(*net, count);
        }
        self.count_missed(by_namespace.values().sum())
    }

    /// Adds to what the first CPU counted: nobody else writes any more.
    fn count_missed(&mut self, count: u64) -> Result<()> {
        let counters = self.ebpf.map_mut("COUNTERS").context("the eBPF object has no map COUNTERS")?;
        let mut counters = PerCpuArray::<&mut MapData, u64>::try_from(counters)?;
        let missed = Counter::ExitMissed as u32;
        let mut cpus = counters.get(&missed, 0)?.to_vec();
        *cpus.first_mut().context("a map without CPUs")? += count;
        Ok(counters.set(missed, PerCpuValues::try_from(cpus)?, 0)?)
    }
}

impl Check {
    /// Followed and due when the check began, and not found: its end was not seen. One that is not due yet may have
    /// been on its way onto the list.
    fn is_gone(&self, known: &TimeWait) -> bool {
        known.flags & FOUND == 0
            && known.full_expires(self.began) < self.began
            && self.namespaces.contains(&known.net.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gone_is_what_was_due_and_is_not_on_the_list() {
        let check = Check { began: 1000, namespaces: [7].into() };
        let gone = TimeWait { net: 7, armed_expires: 999, ..TimeWait::default() };
        assert!(check.is_gone(&gone));
        assert!(!check.is_gone(&TimeWait { flags: FOUND, ..gone }));
        assert!(!check.is_gone(&TimeWait { armed_expires: 1000, ..gone }));
        assert!(!check.is_gone(&TimeWait { net: 8, ..gone }));
    }
}

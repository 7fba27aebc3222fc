//! The socket ledgers of the network namespaces: what the kernel side has booked, and what was taken over from it, so
//! that namespaces that come and go fill neither the kernel's map nor the table here.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{MapData, PerCpuHashMap, PerCpuValues},
};
use tw_trace_common::{
    config::Cell,
    followed::{EPOCH_SHIFT, Ledger},
};

use super::{load::Loaded, netns, sysfs::cpus};
use crate::collector::Gone;

/// Of 1,024 or more in the kernel side's map: with more, they are taken over.
const MANY_ENTRIES: usize = 128;
/// With fewer namespaces in the table it is not worth looking which are gone.
const MANY_NAMESPACES: usize = 512;
/// `membarrier(MEMBARRIER_CMD_GLOBAL)`: `synchronize_rcu()` (kernel/sched/membarrier.c, 4.3 – 7.3; refused with
/// `nohz_full`).
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
/// Where that is refused. No program of ours runs for so long.
const PROGRAMS_END: Duration = Duration::from_millis(100);

/// A ledger as it lies in the map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct LedgerValue(Ledger);

// SAFETY: a repr(C) struct of integers without padding.
unsafe impl Pod for LedgerValue {}

/// What was taken over from the kernel side's map.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// By the key of the namespace; zero for those that had no room.
    ledgers: BTreeMap<u64, Ledger>,
    gone: Gone,
    /// Namespaces in the table from which on it is looked which are gone.
    many: usize,
}

impl Taken {
    fn add(&mut self, net: u64, ledger: &Ledger) {
        let sum = self.ledgers.entry(net).or_default();
        *sum = sum.plus(ledger);
    }

    /// Adds up the namespaces that are gone, all but those that are to be kept: a namespace whose inode no namespace has
    /// any more, or a younger one has. What is booked later of their sockets makes them an entry again.
    fn fold(&mut self, inodes: &BTreeSet<u64>, is_kept: impl Fn(u64) -> bool) {
        let youngest: BTreeMap<u64, u64> =
            self.ledgers.iter().map(|(net, ledger)| (ledger.inode, *net)).collect();
        let is_there = |net: u64, ledger: &Ledger| {
            net == 0
                || is_kept(net)
                || inodes.contains(&ledger.inode) && youngest.get(&ledger.inode) == Some(&net)
        };
        let gone = &mut self.gone;
        self.ledgers.retain(|net, ledger| {
            let stays = is_there(*net, ledger);
            if !stays {
                gone.ledger = gone.ledger.plus(ledger);
                // Without an inode it is what was left of one that was counted already.
                gone.namespaces += u64::from(ledger.inode != 0);
            }
            stays
        });
    }
}

impl Loaded {
    /// Makes the entries for namespaces that find no room, in both epochs.
    pub(super) fn make_fallback_ledgers(&mut self) -> Result<()> {
        let mut map = self.ledgers_map_mut()?;
        for epoch in [0, 1] {
            map.insert(epoch << EPOCH_SHIFT, nothing()?, 0).context("making the first ledgers")?;
        }
        Ok(())
    }

    /// The socket ledgers by key of the network namespace, but for those of [`Loaded::gone_ledgers`].
    pub fn ledgers(&self) -> Result<BTreeMap<u64, Ledger>> {
        let map = self.ebpf.map("LEDGERS").context("the eBPF object has no map LEDGERS")?;
        let map = PerCpuHashMap::<&MapData, u64, LedgerValue>::try_from(map)?;
        let mut all = self.taken.ledgers.clone();
        for entry in &map {
            let (key, cpus) = entry?;
            let sum = all.entry(net_of(key)).or_default();
            *sum = sum.plus(&sum_of(&cpus));
        }
        all.retain(|_, ledger| ledger.is_used());
        Ok(all)
    }

    /// What the namespaces came to that are gone and are not told apart any more.
    pub fn gone_ledgers(&self) -> Gone {
        self.taken.gone
    }

    /// The ledger of all namespaces together.
    pub fn whole_ledger(&self) -> Result<Ledger> {
        Ok(self.ledgers()?.values().fold(self.taken.gone.ledger, |sum, ledger| sum.plus(ledger)))
    }

    /// To be asked every second: takes over what the kernel side booked when its map fills. Namespaces that are to be kept
    /// are told apart even when they are gone.
    pub fn relieve_ledgers(&mut self, is_kept: impl Fn(u64) -> bool) -> Result<()> {
        let entries = self.ledgers_map_mut()?.keys().count();
        if entries < MANY_ENTRIES {
            return Ok(());
        }
        let epoch = self.cell(Cell::LedgerEpoch)?;
        self.set_cell(Cell::LedgerEpoch, epoch ^ 1)?;
        wait_for_programs();
        self.take_over(epoch)?;
        let many = self.taken.many.max(MANY_NAMESPACES);
        if self.taken.ledgers.len() > many {
            if let Some(inodes) = netns::inodes() {
                self.taken.fold(&inodes, is_kept);
            }
            self.taken.many = 2 * self.taken.ledgers.len();
        }
        Ok(())
    }

    /// Takes the entries of an epoch that no program books in.
    fn take_over(&mut self, epoch: u64) -> Result<()> {
        let mut map = self.ledgers_map_mut()?;
        let keys = map.keys().filter(|key| !matches!(key, Ok(key) if key >> EPOCH_SHIFT != epoch));
        let keys: Vec<u64> = keys.collect::<Result<_, _>>()?;
        let mut taken = Vec::with_capacity(keys.len());
        for key in keys {
            taken.push((net_of(key), sum_of(&map.get(&key, 0)?)));
            if net_of(key) == 0 {
                map.insert(key, nothing()?, 0)?;
            } else {
                map.remove(&key)?;
            }
        }
        for (net, ledger) in taken {
            self.taken.add(net, &ledger);
        }
        Ok(())
    }

    /// Books sockets whose end was not seen. Nothing is attached any more.
    pub(super) fn book_missed(&mut self, net: u64, missed: u64) {
        self.taken.add(net, &Ledger { missed, ..Ledger::ZERO });
    }

    fn ledgers_map_mut(&mut self) -> Result<PerCpuHashMap<&mut MapData, u64, LedgerValue>> {
        let map = self.ebpf.map_mut("LEDGERS").context("the eBPF object has no map LEDGERS")?;
        Ok(PerCpuHashMap::try_from(map)?)
    }
}

/// The namespace's part of a key.
const fn net_of(key: u64) -> u64 {
    key & ((1 << EPOCH_SHIFT) - 1)
}

fn sum_of(cpus: &PerCpuValues<LedgerValue>) -> Ledger {
    cpus.iter().fold(Ledger::ZERO, |sum, cpu| sum.plus(&cpu.0))
}

fn nothing() -> Result<PerCpuValues<LedgerValue>> {
    Ok(PerCpuValues::try_from(vec![LedgerValue(Ledger::ZERO); cpus()?])?)
}

/// Returns when the programs have ended that were running: they run under `rcu_read_lock()` (5.10 – 7.3).
pub fn wait_for_programs() {
    // SAFETY: takes two integers and touches no memory of ours.
    let failed = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0) };
    if failed != 0 {
        sleep(PROGRAMS_END);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(inode: u64, entered: u64) -> Ledger {
        Ledger { entered, inode, ..Ledger::ZERO }
    }

    #[test]
    fn namespaces_that_are_gone_are_added_up_and_nothing_is_lost() {
        let mut taken = Taken::default();
        for (net, inode, entered) in [(0, 0, 1), (5, 50, 2), (6, 60, 4), (7, 50, 8), (8, 80, 16), (9, 0, 32)]
        {
            taken.add(net, &ledger(inode, entered));
        }
        // 5 had the inode that 7 has now, 8 is kept though it is gone, 9 is a leftover of one that was folded before.
        taken.fold(&[50, 90].into(), |net| net == 8);
        assert_eq!(taken.ledgers.keys().copied().collect::<Vec<_>>(), [0, 7, 8]);
        assert_eq!((taken.gone.namespaces, taken.gone.ledger.entered), (2, 2 + 4 + 32));
        let sum: u64 = taken.ledgers.values().map(|ledger| ledger.entered).sum();
        assert_eq!(sum + taken.gone.ledger.entered, 63);
    }

    #[test]
    fn the_epoch_is_no_part_of_the_namespace() {
        assert_eq!(net_of(7), 7);
        assert_eq!(net_of(1 << EPOCH_SHIFT | 7), 7);
    }

    #[test]
    fn running_programs_are_waited_for() {
        wait_for_programs();
    }
}

//! Counting: per-CPU counters of what was made and lost, and the ledger of each network namespace.

use tw_trace_common::{
    config::Cell,
    counter::Counter,
    followed::{EPOCH_SHIFT, Ledger},
};

use crate::maps::{COUNTERS, LEDGERS, cell, fetch_add};

/// In read-only data: six copies of it on the stack would be too many.
static EMPTY: Ledger = Ledger::ZERO;

#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // In one piece: a state change in softirq may interrupt one in process context, and count the same.
        fetch_add(value, 1);
    }
}

/// Books a change in the ledger of a network namespace, named by its key, and returns the key under which it is booked: zero
/// when there are too many namespaces. The inode is written down where it is known, else zero.
///
/// User space makes the entries of key zero, flips the epoch from time to time, waits for the programs that may still use
/// the one before, and takes its entries out: see `Cell::LedgerEpoch`.
#[inline(always)]
pub(crate) fn book(net: u64, inode: u32, change: impl FnOnce(&mut Ledger)) -> u32 {
    let epoch = cell(Cell::LedgerEpoch) << EPOCH_SHIFT;
    let key = net | epoch;
    let change = |ledger: *mut Ledger| {
        // SAFETY: a map value of this CPU. A timer event in a softirq may interrupt a state change in process
        // context, but the two count different things.
        let ledger = unsafe { &mut *ledger };
        if inode != 0 {
            ledger.inode = u64::from(inode);
        }
        change(ledger);
    };
    if let Some(ledger) = LEDGERS.get_ptr_mut(key) {
        change(ledger);
        return net as u32;
    }
    // Another CPU may be first; then this insertion fails and the entry is there all the same.
    let empty: &Ledger = &EMPTY;
    let _ = LEDGERS.insert(key, empty, u64::from(aya_ebpf::bindings::BPF_NOEXIST));
    if let Some(ledger) = LEDGERS.get_ptr_mut(key) {
        change(ledger);
        return net as u32;
    }
    count(Counter::NetnsMapFull);
    if let Some(ledger) = LEDGERS.get_ptr_mut(epoch) {
        change(ledger);
    }
    0
}

//! Counting: per-CPU counters of what was made and lost, and the ledger of each network namespace.

use tw_trace_common::{config::Ledger, counter::Counter};

use crate::maps::{COUNTERS, LEDGERS};

/// In read-only data: six copies of it on the stack would be too many.
static EMPTY: Ledger = Ledger::ZERO;

#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a map value of this CPU; programs of one CPU do not interrupt each other on these paths.
        unsafe { *value += 1 }
    }
}

/// Books a change in the ledger of a network namespace; under inode 0 when there are too many of them.
#[inline(always)]
pub(crate) fn book(netns: u32, change: impl FnOnce(&mut Ledger)) {
    if let Some(ledger) = LEDGERS.get_ptr_mut(netns) {
        // SAFETY: as in `count`.
        change(unsafe { &mut *ledger });
        return;
    }
    // Another CPU may be first; then this insertion fails and the entry is there all the same.
    let empty: &Ledger = &EMPTY;
    let _ = LEDGERS.insert(netns, empty, u64::from(aya_ebpf::bindings::BPF_NOEXIST));
    if let Some(ledger) = LEDGERS.get_ptr_mut(netns) {
        // SAFETY: as in `count`.
        change(unsafe { &mut *ledger });
        return;
    }
    count(Counter::NetnsMapFull);
    if let Some(ledger) = LEDGERS.get_ptr_mut(0) {
        // SAFETY: as in `count`.
        change(unsafe { &mut *ledger });
    }
}

//! Counting: per-CPU counters of what was made and lost, and the ledger of each network namespace.

use tw_trace_common::{counter::Counter, followed::Ledger};

use crate::maps::{COUNTERS, LEDGERS, fetch_add};

/// In read-only data: six copies of it on the stack would be too many.
static EMPTY: Ledger = Ledger::ZERO;

#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // In one piece: a state change in softirq may interrupt one in process context, and count the same.
        fetch_add(value, 1);
    }
}

/// Books a change in the ledger of a network namespace, named by its key; under key 0 when there are too many of them.
/// The inode is written down where it is known, else zero.
#[inline(always)]
pub(crate) fn book(net: u64, inode: u32, change: impl FnOnce(&mut Ledger)) {
    let change = |ledger: *mut Ledger| {
        // SAFETY: a map value of this CPU. A timer event in a softirq may interrupt a state change in process
        // context, but the two count different things.
        let ledger = unsafe { &mut *ledger };
        if inode != 0 {
            ledger.inode = u64::from(inode);
        }
        change(ledger);
    };
    if let Some(ledger) = LEDGERS.get_ptr_mut(net) {
        change(ledger);
        return;
    }
    // Another CPU may be first; then this insertion fails and the entry is there all the same.
    let empty: &Ledger = &EMPTY;
    let _ = LEDGERS.insert(net, empty, u64::from(aya_ebpf::bindings::BPF_NOEXIST));
    if let Some(ledger) = LEDGERS.get_ptr_mut(net) {
        change(ledger);
        return;
    }
    count(Counter::NetnsMapFull);
    if let Some(ledger) = LEDGERS.get_ptr_mut(0) {
        change(ledger);
    }
}

//! One at a time on a CPU, for what runs in process context and in the softirqs that interrupt it.

use tw_trace_common::counter::Counter;

use crate::{count::count, maps::CPU};

/// Does the work, unless it interrupts other such work on this CPU: then it is counted as lost. The kernel itself
/// keeps a program from interrupting itself (tracing programs since 5.12, trace events since 6.1), but not another
/// one that uses the same scratch.
#[inline(always)]
pub(crate) fn alone(work: impl FnOnce()) {
    let Some(cpu) = CPU.get_ptr_mut(0) else { return };
    // SAFETY: a map value of this CPU, and an aligned word of it.
    if unsafe { core::ptr::replace(&raw mut (*cpu).telling_state, 1) } != 0 {
        count(Counter::Recursion);
        return;
    }
    work();
    // SAFETY: as above.
    unsafe { (*cpu).telling_state = 0 };
}

//! Time-wait sockets of DCCP, which are none of ours.

use tw_trace_common::counter::Counter;

use crate::{count::count, sock};

/// Whether a time-wait socket is to be passed over, which is counted: since 6.1 the kernel's TW counts it.
#[inline(always)]
pub(crate) fn passes(tw: u64) -> bool {
    if sock::is_tcp(tw) {
        return false;
    }
    count(Counter::Dccp);
    true
}

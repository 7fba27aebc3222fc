//! Time-wait sockets of DCCP, which are none of ours.

use tw_trace_common::counter::Counter;

use crate::{count::count, sock};

/// True for a time-wait socket that is no TCP socket; it is counted, since the kernel's TW counts it too from 6.1 on.
#[inline(always)]
pub(crate) fn passes(tw: u64) -> bool {
    if sock::is_tcp(tw) {
        return false;
    }
    count(Counter::Dccp);
    true
}

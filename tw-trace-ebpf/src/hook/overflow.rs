//! A connection that skips TIME_WAIT because there are too many time-wait sockets already.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use tw_trace_common::event::{Kind, NONE_NS, TwOverflow};

use crate::{
    count::book,
    emit, filter, globals,
    hook::{alone::alone, set_state::IPPROTO_TCP},
    maps::Place,
    sock::{self, Memory},
    sockets,
};

/// `struct inet_timewait_sock *inet_twsk_alloc(const struct sock *sk, struct inet_timewait_death_row *dr,
/// const int state)` (5.10 – 7.3) gave none: there are `dr->sysctl_max_tw_buckets` of them, or, rarely, no memory. Its
/// caller, `tcp_time_wait`, counts the connection in TCPTimeWaitOverflow and closes it.
#[inline(always)]
pub(crate) fn skipped<M: Memory>(sk: u64, death_row: u64) {
    if sock::protocol::<M>(sk) == IPPROTO_TCP {
        alone(|| tell::<M>(sk, death_row));
    }
}

#[inline(always)]
fn tell<M: Memory>(sk: u64, death_row: u64) {
    let Some(scratch) = Place::SetState.scratch() else { return };
    if !sock::read_conn::<M>(sk, scratch) {
        return;
    }
    let key = if globals::keyless() { sockets::address(sk, scratch) } else { scratch.conn.cookie };
    let owner = match sockets::find(key) {
        // SAFETY: the socket is locked by who wants to turn it into a time-wait socket.
        Some(socket) if key != 0 => unsafe { &(*socket).owner },
        _ => &sockets::NOBODY_KNOWN,
    };
    if !filter::conn_matches(scratch) || !filter::owner_matches(owner) {
        return;
    }
    book(scratch.net, scratch.conn.netns, |ledger| ledger.overflow += 1);
    if globals::streams(Kind::TwOverflow) {
        // SAFETY: takes no arguments.
        let now = unsafe { bpf_ktime_get_ns() };
        emit::emit(Kind::TwOverflow, now, &scratch.conn, owner, |record: &mut TwOverflow| {
            record.limit = sock::max_tw_buckets::<M>(death_row).map_or(NONE_NS, u64::from);
        });
    }
}

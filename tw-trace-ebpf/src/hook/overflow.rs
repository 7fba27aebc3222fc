//! A connection that skips TIME_WAIT because there are too many time-wait sockets already.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use tw_trace_common::{
    counter::Counter,
    event::{Kind, NONE_NS, TwOverflow},
};

use crate::{
    count::{book, count},
    emit, filter, globals,
    hook::{
        alone::{Level, alone},
        set_state::IPPROTO_TCP,
    },
    maps::{ALLOCATIONS, Allocation, fetch_add},
    memory::{Memory, Probed},
    sock, sockets,
};

/// `struct inet_timewait_sock *inet_twsk_alloc(const struct sock *sk, struct inet_timewait_death_row *dr,
/// const int state)` (5.10 – 7.3) gave none: there are `dr->sysctl_max_tw_buckets` of them, or, rarely, no memory. Its
/// caller, `tcp_time_wait`, counts the connection in TCPTimeWaitOverflow and closes it.
#[inline(always)]
pub(crate) fn skipped<M: Memory>(sk: u64, death_row: u64) {
    if sock::protocol::<M>(sk) == IPPROTO_TCP {
        let level = Level::of::<M>(sk);
        alone(level, || tell::<M>(sk, death_row, level));
    }
}

/// `inet_twsk_alloc` begins, for programs that see its arguments and its result apart: keeps the arguments under what
/// tells this call from all others under way. Not per CPU: it also runs with softirqs on, and may go on elsewhere.
#[inline(always)]
pub(crate) fn begins(call: u64, sk: u64, death_row: u64) {
    if ALLOCATIONS.insert(call, Allocation { sk, death_row }, 0).is_err() {
        count(Counter::AllocationMapFull);
    }
}

/// It ends, with the time-wait socket or null.
#[inline(always)]
pub(crate) fn ends(call: u64, made: u64) {
    // SAFETY: an entry of this very call, which nobody else writes.
    let Some(Allocation { sk, death_row }) = (unsafe { ALLOCATIONS.get(call).copied() }) else { return };
    let _ = ALLOCATIONS.remove(call);
    if made == 0 {
        skipped::<Probed>(sk, death_row);
    }
}

#[inline(always)]
fn tell<M: Memory>(sk: u64, death_row: u64, level: Level) {
    let Some(scratch) = level.place().scratch() else { return };
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
    book(scratch.net, scratch.conn.netns, |ledger| fetch_add(&raw mut ledger.overflow, 1));
    if globals::streams(Kind::TwOverflow) {
        // SAFETY: takes no arguments.
        let now = unsafe { bpf_ktime_get_ns() };
        emit::emit(Kind::TwOverflow, now, &scratch.conn, owner, |record: &mut TwOverflow| {
            record.limit = sock::max_tw_buckets::<M>(death_row).map_or(NONE_NS, u64::from);
        });
    }
}

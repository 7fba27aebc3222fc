//! A listener's child in SYN_RECV: when it was made, and how long its connection had been half open before that.
//!
//! Since 4.4 a half-open connection is a `request_sock`, which makes no state event. The full socket is made when the
//! handshake ends, and passes through SYN_RECV within one softirq; only a Fast Open child is there from the SYN on, for as
//! long as the handshake takes.

use tw_trace_common::{counter::Counter, event::NONE_NS, fields::ABSENT};

use crate::{
    count::count,
    globals::offset,
    maps::{CHILDREN, CHILDREN_COUNT, Child, OLD_CHILDREN, Scratch},
    memory::{Memory as _, Probed},
    sockets,
    states::{CLOSE, ESTABLISHED},
    words,
};

/// Remembers when a child was made. It is known by address until it has a cookie of its own. Children that stay long
/// enough for their place to be wanted again (Fast Open) move to a table of the least recently used.
#[inline(always)]
pub(crate) fn made(sk: u64, now: u64, scratch: &mut Scratch) {
    let Some(child) = place(sk, scratch) else { return };
    // SAFETY: a map value. Two CPUs that want one place at one moment could mix their children: then the times differ by
    // nanoseconds.
    unsafe {
        if (*child).sk != 0 && (*child).sk != sk {
            let displaced: &Child = &*child;
            if OLD_CHILDREN.insert(displaced.sk, displaced.since_ns, 0).is_err() {
                count(Counter::SocketMapFull);
            }
        }
        (*child).sk = sk;
        (*child).since_ns = now;
    }
}

/// When the child was made, asked once, at its next change of state; zero if that was not seen.
#[inline(always)]
pub(crate) fn take(sk: u64, scratch: &mut Scratch) -> u64 {
    if let Some(child) = place(sk, scratch) {
        // SAFETY: as in `made`; this child's events come one after the other.
        unsafe {
            if (*child).sk == sk {
                (*child).sk = 0;
                return (*child).since_ns;
            }
        }
    }
    // SAFETY: a map value that nobody changes meanwhile.
    let since = unsafe { OLD_CHILDREN.get(sk).copied() }.unwrap_or(0);
    if since != 0 {
        let _ = OLD_CHILDREN.remove(sk);
    }
    since
}

#[inline(always)]
fn place(sk: u64, scratch: &mut Scratch) -> Option<*mut Child> {
    const MASK: u64 = CHILDREN_COUNT as u64 - 1;
    let place = words::low_bits::<MASK>(sockets::spread(sockets::address(sk, scratch)));
    CHILDREN.get_ptr_mut(place as u32)
}

/// Returns for how long (ns) the connection was half open when its child goes to `new`, after `own_ns` in SYN_RECV itself;
/// `NONE_NS` where that is not known.
///
/// The time from the first SYN-ACK to the ACK is the socket's first sample of the round-trip time
/// (`tcp_synack_rtt_meas`, called by `tcp_check_req`, 5.10 – 7.3). There is none for SYN-ACKs that were sent again, and none
/// where the handshake did not end.
#[inline(always)]
pub(crate) fn dwell(sk: u64, new: u8, own_ns: u64) -> u64 {
    /// SYN-ACKs are not sent again sooner (TCP_TIMEOUT_INIT is 1 s, TCP_RTO_MIN 200 ms): an older child is a Fast Open one.
    const SENT_AGAIN_NS: u64 = 100_000_000;
    let half_open = match new {
        ESTABLISHED if synack_retransmits(sk) == 0 => first_rtt_ns(sk),
        ESTABLISHED if own_ns >= SENT_AGAIN_NS => Some(own_ns),
        ESTABLISHED => None,
        CLOSE if !is_fast_open(sk) => None,
        // close() by the process, which has only Fast Open children before the handshake ends.
        _ => Some(own_ns),
    };
    half_open.map_or(NONE_NS, |ns| ns.max(own_ns))
}

/// `tcp_sock.total_retrans`, which `tcp_create_openreq_child` takes from the request, and which counts the SYN-ACKs of Fast
/// Open children.
#[inline(always)]
fn synack_retransmits(sk: u64) -> u32 {
    let total = offset!(tcp_total_retrans);
    if total == ABSENT as usize { 1 } else { Probed::read(sk, total) }
}

/// `tcp_sock.srtt_us`: eight times the smoothed round-trip time in µs, so of a first sample eight times that, and at
/// least one; zero if there was none.
#[inline(always)]
fn first_rtt_ns(sk: u64) -> Option<u64> {
    let srtt = offset!(tcp_srtt_us);
    let srtt: u32 = if srtt == ABSENT as usize { 0 } else { Probed::read(sk, srtt) };
    if srtt == 0 { None } else { Some(u64::from(srtt >> 3) * 1_000) }
}

/// `tcp_sock.fastopen_rsk`: the request of a child that was made before the handshake ended, until it ends
/// (`tcp_done` sets CLOSE first).
#[inline(always)]
fn is_fast_open(sk: u64) -> bool {
    let request = offset!(tcp_fastopen_rsk);
    request != ABSENT as usize && Probed::read::<u64>(sk, request) != 0
}

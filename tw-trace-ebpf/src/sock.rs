//! The only reader of sockets, time-wait sockets and timers in kernel memory (`task` reads tasks).
//!
//! Prototypes relied on (include/net/sock.h, include/net/inet_timewait_sock.h, include/linux/timer_types.h,
//! read in 5.10, 6.1, 6.12, 6.18, 7.3): `struct sock` and `struct inet_timewait_sock` both begin with a
//! `struct sock_common`.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_probe_read_kernel as bpf_probe_read_kernel_raw,
};
use tw_trace_common::{
    event::{AF_INET, AF_INET6, Wheel},
    fields::ABSENT,
};

use crate::{
    globals::{self, offset},
    maps::{OPTIONS, Scratch},
    memory::{Memory, Probed, Typed},
};

/// Reads the connection of a full socket or a time-wait socket into the scratch; false if it cannot be read. The cookie is
/// the one stored, zero if none was given.
///
/// `skc_bound_dev_if` is set by SO_BINDTODEVICE, by connect() to a link-local address (`tcp_v6_connect`), and in children
/// of listeners by the interface or VRF that the SYN came by (`inet_request_bound_dev_if`, `tcp_v6_init_req`; 5.10 – 7.3).
/// `inet_twsk_alloc` hands it on.
#[inline(always)]
pub(crate) fn read_conn<M: Memory>(sk: u64, scratch: &mut Scratch) -> bool {
    if !M::open(sk, &mut scratch.common) {
        return false;
    }
    let (copy, conn) = (&scratch.common, &mut scratch.conn);
    conn.cookie = M::common(sk, copy, offset!(skc_cookie));
    conn.lport = M::common(sk, copy, offset!(skc_num));
    conn.rport = u16::from_be(M::common(sk, copy, offset!(skc_dport)));
    conn.family = M::common(sk, copy, offset!(skc_family));
    conn.ifindex = M::common(sk, copy, offset!(skc_bound_dev_if));
    let net: u64 = M::common(sk, copy, offset!(skc_net));
    if offset!(net_cookie) == ABSENT as usize {
        conn.netns = M::read(net, offset!(net_inum));
        scratch.net = u64::from(conn.netns);
    } else {
        // The low half: see LEDGERS. All machines that are supported keep it first.
        let cookie = u64::from(M::read::<u32>(net, offset!(net_cookie)));
        // The inode is kept from the event before: it lies beside the namespace's count of users, whose cache line
        // every CPU that makes a socket takes for itself.
        if scratch.net != cookie {
            conn.netns = M::read(net, offset!(net_inum));
            scratch.net = cookie;
        }
    }
    match conn.family {
        AF_INET => {
            conn.laddr = v4(M::common(sk, copy, offset!(skc_rcv_saddr)));
            conn.raddr = v4(M::common(sk, copy, offset!(skc_daddr)));
        }
        AF_INET6 if offset!(skc_v6_daddr) != ABSENT as usize => {
            let word = |offset: usize| M::common::<u64>(sk, copy, offset);
            conn.laddr = words(word(offset!(skc_v6_rcv_saddr)), word(offset!(skc_v6_rcv_saddr) + 8));
            conn.raddr = words(word(offset!(skc_v6_daddr)), word(offset!(skc_v6_daddr) + 8));
        }
        _ => {
            conn.laddr = words(0, 0);
            conn.raddr = words(0, 0);
        }
    }
    true
}

/// An IPv4 address in the first four bytes.
#[inline(always)]
fn v4(addr: u32) -> [u8; 16] {
    // SAFETY: four words are sixteen bytes.
    unsafe { core::mem::transmute([addr, 0, 0, 0]) }
}

/// Two words in memory order as an address.
#[inline(always)]
fn words(first: u64, second: u64) -> [u8; 16] {
    // SAFETY: two words are sixteen bytes.
    unsafe { core::mem::transmute([first, second]) }
}

/// The local port of a full socket that has given it back: `inet_put_port` clears `inet_num` before a socket
/// goes to CLOSE (`tcp_set_state`), but not `inet_sport`. Zero before there was one.
#[inline(always)]
pub(crate) fn former_port(sk: u64) -> u16 {
    u16::from_be(Probed::read(sk, offset!(inet_sport)))
}

/// `sk->sk_protocol`: `inet_sock_set_state` fires for SCTP, DCCP and MPTCP too.
#[inline(always)]
pub(crate) fn protocol<M: Memory>(sk: u64) -> u16 {
    M::read(sk, offset!(sk_protocol))
}

/// `sk->sk_lock.owned`: a process holds the socket.
#[inline(always)]
pub(crate) fn is_owned<M: Memory>(sk: u64) -> bool {
    M::read::<u32>(sk, offset!(sk_owned)) != 0
}

/// `sk_common->skc_state`: TCP_TIME_WAIT tells a time-wait socket from a full one.
#[inline(always)]
pub(crate) fn state<M: Memory>(sk: u64) -> u8 {
    M::read(sk, offset!(skc_state))
}

/// `sk_common->skc_cookie`: zero until somebody asked for the socket's cookie.
#[inline(always)]
pub(crate) fn stored_cookie<M: Memory>(sk: u64) -> u64 {
    M::read(sk, offset!(skc_cookie))
}

/// The socket's cookie, given to it now if it has none. Programs whose arguments the verifier knows may ask for it
/// from 5.12 on; before, it is what somebody else asked for. Constant, so that the verifier sees one of the two.
#[inline(always)]
pub(crate) fn cookie(sk: *mut c_void) -> u64 {
    if globals::keyless() {
        stored_cookie::<Typed>(sk as u64)
    } else {
        // SAFETY: the verifier knows the argument as a `struct sock`.
        unsafe { bpf_get_socket_cookie(sk) }
    }
}

#[inline(always)]
pub(crate) fn substate(tw: u64) -> u8 {
    Probed::read(tw, offset!(tw_substate))
}

/// Whether a time-wait socket is TCP's. DCCP's have the same `tw_timer_handler` (up to 6.15); the `struct proto` of a
/// time-wait socket (`tw_prot`, `inet_twsk_alloc`) tells them, by its name: "DCCP", "DCCPv6" (net/dccp, 5.10 – 6.15).
#[inline(always)]
pub(crate) fn is_tcp(tw: u64) -> bool {
    const DCCP: u32 = u32::from_ne_bytes(*b"DCCP");
    if !globals::dccp() {
        return true;
    }
    let protocol: u64 = Probed::read(tw, offset!(skc_prot));
    Probed::read::<u32>(protocol, offset!(proto_name)) != DCCP
}

/// The sequence number that the time-wait socket expects next.
#[inline(always)]
pub(crate) fn rcv_nxt(tw: u64) -> u32 {
    Probed::read(tw, offset!(tw_rcv_nxt))
}

/// The peer's last timestamp and when it came; the latter is zero without timestamps.
#[inline(always)]
pub(crate) fn ts_recent(tw: u64) -> Option<(u32, u32)> {
    let (recent, stamp) = (offset!(tw_ts_recent), offset!(tw_ts_recent_stamp));
    if recent == ABSENT as usize || stamp == ABSENT as usize {
        return None;
    }
    Some((Probed::read(tw, recent), Probed::read(tw, stamp)))
}

/// `TCP_SKB_CB(skb)->seq` and `end_seq`: the segment's sequence numbers, SYN and FIN counted.
#[inline(always)]
pub(crate) fn sequence(skb: u64) -> (u32, u32) {
    let cb = offset!(skb_cb);
    (Probed::read(skb, cb + offset!(cb_seq)), Probed::read(skb, cb + offset!(cb_end_seq)))
}

/// How many bytes of options a TCP header has, and 40 bytes from where they begin: what lies behind them belongs to
/// the packet's buffer too. RFC 9293 says where the fields are.
#[inline(always)]
pub(crate) fn tcp_options(th: u64, options: &mut [u8; OPTIONS]) -> u64 {
    const DATA_OFFSET: usize = 12;
    const HEADER: u64 = 20;
    let words: u8 = Probed::read(th, DATA_OFFSET);
    let options = options.as_mut_ptr().cast();
    // SAFETY: the destination is longer; the helper checks the source.
    let failed = unsafe { bpf_probe_read_kernel_raw(options, 40, (th + HEADER) as *const c_void) };
    if failed == 0 { (u64::from(words >> 4) * 4).saturating_sub(HEADER) } else { 0 }
}

/// `dr->sysctl_max_tw_buckets`, if this kernel says where it is.
#[inline(always)]
pub(crate) fn max_tw_buckets<M: Memory>(death_row: u64) -> Option<u32> {
    let limit = offset!(max_tw_buckets);
    if limit == ABSENT as usize { None } else { Some(M::read(death_row, limit)) }
}

/// The time-wait socket around a `tw_timer`.
#[inline(always)]
pub(crate) fn tw_of_timer(timer: u64) -> u64 {
    timer - offset!(tw_timer) as u64
}

#[inline(always)]
pub(crate) fn timer_of_tw(tw: u64) -> u64 {
    tw + offset!(tw_timer) as u64
}

/// `timer->expires`, in jiffies.
#[inline(always)]
pub(crate) fn expires<M: Memory>(timer: u64) -> u64 {
    M::read(timer, offset!(timer_expires))
}

/// `timer->entry.pprev`: what points to this timer; zero when it is not pending.
#[inline(always)]
pub(crate) fn pprev<M: Memory>(timer: u64) -> u64 {
    M::read(timer, offset!(timer_pprev))
}

/// The CPU on whose wheel the timer is (`TIMER_CPUMASK`).
#[inline(always)]
pub(crate) fn base<M: Memory>(timer: u64) -> u32 {
    M::read::<u32>(timer, offset!(timer_flags)) & CPU_MASK
}

/// `TIMER_CPUMASK` (include/linux/timer.h, 5.10 – 7.3).
const CPU_MASK: u32 = 0x3ffff;

/// Where the timer sits on the wheel (kernel/time/timer.c since 4.8: `flags >> 22` is the bucket's index,
/// `flags & 0x3ffff` the CPU; `calc_index` rounds up to the next bucket).
#[inline(always)]
pub(crate) fn wheel<M: Memory>(timer: u64) -> Wheel {
    let flags: u32 = M::read(timer, offset!(timer_flags));
    let expires = expires::<M>(timer);
    let index = flags >> 22;
    let level = index >> 6;
    let shift = u64::from(level * 3) & 63;
    Wheel {
        expires,
        bucket: ((expires >> shift) + 1) << shift,
        cpu: flags & CPU_MASK,
        level: level as u8,
        slot: (index & 63) as u8,
        spare: 0,
    }
}

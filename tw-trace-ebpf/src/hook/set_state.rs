//! A full TCP socket changes state: dwell time in the old state, and the owner where the process itself acts.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use tw_trace_common::{
    config::filter_bits,
    counter::Counter,
    event::{Kind, NONE_NS, Owner, State},
    histogram::Series,
};

use crate::{
    count::count,
    emit, ends, filter, globals, histogram,
    hook::{
        acting,
        alone::{self, Level, alone},
        child,
    },
    maps::{CLOSERS, Scratch, Socket},
    memory::Memory,
    sock, sockets,
    states::{CLOSE, CLOSING, FIN_WAIT1, FIN_WAIT2, LAST_ACK, LISTEN, SYN_RECV, SYN_SENT},
    words,
};

pub(crate) const IPPROTO_TCP: u16 = 6;
/// include/uapi/linux/in.h, 5.6 – 7.3.
const IPPROTO_MPTCP: u16 = 262;

/// `void tcp_set_state(struct sock *sk, int state)`, `inet_sk_set_state`, `inet_sk_state_store`
/// (net/ipv4/tcp.c, net/ipv4/af_inet.c; 5.10 – 7.3), which all fire
/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`.
///
/// `entering` takes the state that the socket is still in from the socket, as those functions do.
#[inline(always)]
pub(crate) fn entering<M: Memory>(sk: u64, new: u8, cookie: impl FnOnce() -> u64) {
    state_changed::<M>(sk, sock::state::<M>(sk), new, cookie);
}

/// `inet_sk_state_store`, for plans that watch `tcp_set_state` as well: takes only the changes that do not come from there,
/// those of listen() and of MPTCP sockets.
#[inline(always)]
pub(crate) fn entering_past<M: Memory>(sk: u64, new: u8, cookie: impl FnOnce() -> u64) {
    if new == LISTEN || sock::protocol::<M>(sk) == IPPROTO_MPTCP {
        entering::<M>(sk, new, cookie);
    }
}

/// The child of a listener (LISTEN → SYN_RECV) is not asked for its cookie: `inet_csk_clone_lock` gives it one of its
/// own only after it has set the state.
#[inline(always)]
pub(crate) fn state_changed<M: Memory>(sk: u64, old: u8, new: u8, cookie: impl FnOnce() -> u64) {
    let level = Level::of::<M>(sk);
    alone::mark(level, sk, new);
    changed::<M>(sk, level, [old, new], cookie);
}

/// The same event once more, for a second program behind the first one: it takes what the first was kept from.
#[inline(always)]
pub(crate) fn state_changed_again<M: Memory>(sk: u64, old: u8, new: u8, cookie: impl FnOnce() -> u64) {
    let level = Level::of::<M>(sk);
    if alone::is_unmarked(level, sk, new) {
        count(Counter::Nested);
        changed::<M>(sk, level, [old, new], cookie);
    }
}

#[inline(always)]
fn changed<M: Memory>(sk: u64, level: Level, [old, new]: [u8; 2], cookie: impl FnOnce() -> u64) {
    let protocol = sock::protocol::<M>(sk);
    if protocol != IPPROTO_TCP {
        if protocol == IPPROTO_MPTCP {
            acting::mptcp_changed::<M>(sk, new);
        }
        return;
    }
    if !tells_states() {
        // Only the closing process is wanted, from FIN_WAIT1 on.
        if new == FIN_WAIT1 {
            let cookie = cookie();
            alone(level, || tell::<M>(sk, level, [old, new], cookie));
        } else if new == CLOSE && is_closing(old) {
            let cookie = cookie();
            alone(level, || forget(sk, level, cookie));
        }
        return;
    }
    let is_child = old == LISTEN && new == SYN_RECV;
    let cookie = if is_child { 0 } else { cookie() };
    alone(level, || tell::<M>(sk, level, [old, new], cookie));
}

/// States that a socket may be in behind FIN_WAIT1.
#[inline(always)]
fn is_closing(state: u8) -> bool {
    state == FIN_WAIT1 || state == FIN_WAIT2 || state == CLOSING
}

/// The closing process has been handed on to the time-wait socket, or is not needed.
#[inline(always)]
fn forget(sk: u64, level: Level, cookie: u64) {
    let Some(scratch) = level.place().scratch() else { return };
    let key = if globals::keyless() { sockets::address(sk, scratch) } else { cookie };
    if let Some(entry) = sockets::find(key) {
        sockets::remove(key, entry);
    }
}

/// Whether the changes are wanted, and not only whose the sockets are.
#[inline(always)]
fn tells_states() -> bool {
    globals::streams(Kind::State) || globals::counts_dwell()
}

/// Whether the ends of the connection matter: to tell them, to filter, or to hand the closing process on by them.
#[inline(always)]
fn needs_conn(new: u8) -> bool {
    globals::streams(Kind::State) || filter::is_active(filter_bits::CONN) || hands_closer_on(new)
}

#[inline(always)]
fn hands_closer_on(new: u8) -> bool {
    globals::keyless() && globals::owners() && new == FIN_WAIT1
}

/// Reads the connection into the scratch; false if it is not one of those asked for.
#[inline(always)]
fn is_asked_for<M: Memory>(sk: u64, scratch: &mut Scratch, cookie: u64) -> bool {
    if !sock::read_conn::<M>(sk, scratch) {
        return false;
    }
    scratch.conn.cookie = cookie;
    if scratch.conn.lport == 0 {
        scratch.conn.lport = sock::former_port(sk);
    }
    filter::conn_matches(scratch)
}

#[inline(always)]
fn tell<M: Memory>(sk: u64, level: Level, [old, new]: [u8; 2], cookie: u64) {
    let Some(scratch) = level.place().scratch() else { return };
    if needs_conn(new) && !is_asked_for::<M>(sk, scratch, cookie) {
        return;
    }
    // SAFETY: takes no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let key = if globals::keyless() { sockets::address(sk, scratch) } else { cookie };
    let seen = follow::<M>(sk, scratch, [old, new], key, now);
    if hands_closer_on(new) {
        let (closer, owner) = (ends::key(scratch), seen.owner);
        if CLOSERS.insert(closer, owner, 0).is_err() {
            count(Counter::SocketMapFull);
        }
    }
    if tells_states() && filter::owner_matches(seen.owner) {
        report(scratch, &seen, seen.dwell_ns(sk, new, now), (level, [old, new]), now);
    }
    if let (CLOSE, Some(entry)) = (new, seen.entry) {
        sockets::remove(key, entry);
    }
}

#[inline(always)]
fn report(scratch: &Scratch, seen: &Seen, dwell_ns: u64, (level, [old, new]): (Level, [u8; 2]), now: u64) {
    count(Counter::States);
    // The time in a state that was asked for, not that in the state before it; once it is left.
    if globals::counts_dwell() && dwell_ns != NONE_NS && old != new && filter::states_match(old, old) {
        // Not in the histogram that a change in softirq may be interrupting.
        let series = match level {
            Level::Process => Series::dwell_key(old),
            Level::Softirq => Series::dwell_key(old) + Series::IN_SOFTIRQ,
        };
        histogram::record(series, dwell_ns);
    }
    if globals::streams(Kind::State) && filter::states_match(old, new) {
        emit::emit(Kind::State, now, &scratch.conn, seen.owner, |record: &mut State| {
            // The state goes on: its time is reported once, when it is left.
            record.dwell_ns = if old == new { NONE_NS } else { dwell_ns };
            record.old = old;
            record.new = new;
            (record.spare, record.spare2) = (0, 0);
        });
    }
}

/// What is known of the socket that changes its state.
struct Seen {
    /// When the old state began, zero if that was not seen.
    since: u64,
    /// It has been in SYN_RECV as a listener's child.
    is_child: bool,
    owner: &'static Owner,
    entry: Option<*mut Socket>,
}

impl Seen {
    /// The time in the old state, now that it is left for `new`; [`NONE_NS`] if it is not known.
    #[inline(always)]
    fn dwell_ns(&self, sk: u64, new: u8, now: u64) -> u64 {
        match self.since {
            0 => NONE_NS,
            since if self.is_child => child::dwell(sk, new, now - since),
            since => now - since,
        }
    }
}

/// Keeps the socket's entry up to date.
#[inline(always)]
fn follow<M: Memory>(sk: u64, scratch: &mut Scratch, [old, new]: [u8; 2], key: u64, now: u64) -> Seen {
    if key == 0 {
        child::made(sk, now, scratch);
        return Seen { since: 0, is_child: false, owner: &sockets::NOBODY_KNOWN, entry: None };
    }
    let child_since = if old == SYN_RECV && !globals::keyless() { child::take(sk, scratch) } else { 0 };
    // A socket that was closed, a child until now, or of no interest, is not among the old ones: no need to look for it
    // there.
    let is_new =
        old == CLOSE || child_since != 0 || !tells_states() && !globals::keyless() && old != FIN_WAIT1;
    let found = if is_new { sockets::in_place(key) } else { sockets::find(key) };
    let Some(entry) = found.or_else(|| if new == CLOSE { None } else { sockets::insert(key) }) else {
        let is_child = child_since != 0;
        return Seen { since: child_since, is_child, owner: &sockets::NOBODY_KNOWN, entry: None };
    };
    // SAFETY: a map value; the socket lock serialises state changes of one socket.
    let socket = unsafe { &mut *entry };
    let is_born = globals::keyless() && old == LISTEN && new == SYN_RECV;
    let since = match found {
        Some(_) if socket.state == old && !is_born => socket.since_ns,
        Some(_) if !globals::keyless() => 0,
        // New, or left behind by another socket at this address, whose CLOSE was missed.
        _ => {
            words::zero(&mut socket.owner);
            child_since
        }
    };
    // close() after shutdown() sets the state again, which it has been in since shutdown(); and the FIN, and so
    // TIME_WAIT, stays that of who sent it.
    socket.since_ns = if new == old { since } else { now };
    socket.state = new;
    let is_child = child_since != 0 || found.is_some() && old == SYN_RECV && socket.is_child != 0;
    socket.is_child = u8::from(is_born);
    if globals::owners() && is_asked_for_by_process(new) && new != old {
        acting::acts::<M>(sk, &mut socket.owner);
    }
    Seen { since, is_child, owner: &socket.owner, entry: Some(entry) }
}

/// Whether a process asks for the change to `new`: connect(), listen(), close() or shutdown(), exit. FIN_WAIT1 and
/// LAST_ACK are only set by `tcp_close_state`.
#[inline(always)]
fn is_asked_for_by_process(new: u8) -> bool {
    new == SYN_SENT || new == LISTEN || new == FIN_WAIT1 || new == LAST_ACK
}

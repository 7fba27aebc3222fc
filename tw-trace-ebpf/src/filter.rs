//! The filters of the command line, applied before anything is tracked or sent.

use tw_trace_common::{
    config::{Endpoint, filter_bits as bit},
    event::{AF_INET, Owner},
};

use crate::{
    globals::{CONFIG, load},
    maps::Scratch,
};

/// One of the filters, as user space set it.
macro_rules! filter {
    ($field:ident) => {
        load(&CONFIG.filter.$field)
    };
}

#[inline(always)]
pub(crate) fn is_active(bits: u32) -> bool {
    filter!(active) & bits != 0
}

/// Whether the connection is one of those asked for.
#[inline(always)]
pub(crate) fn conn_matches(scratch: &Scratch) -> bool {
    let conn = &scratch.conn;
    if !is_active(bit::CONN) {
        return true;
    }
    (!is_active(bit::NETNS) || netns_matches(scratch))
        && (!is_active(bit::FAMILY) || conn.family == filter!(family))
        && (!is_active(bit::PORT) || conn.lport == filter!(port) || conn.rport == filter!(port))
        && (!is_active(bit::LOCAL) || end_matches(&CONFIG.filter.local, &conn.laddr, conn.lport, conn.family))
        && (!is_active(bit::REMOTE)
            || end_matches(&CONFIG.filter.remote, &conn.raddr, conn.rport, conn.family))
}

/// Whether the owner is one of those asked for; an unknown owner is not.
#[inline(always)]
pub(crate) fn owner_matches(owner: &Owner) -> bool {
    if !is_active(bit::OWNER) {
        return true;
    }
    (!is_active(bit::PID) || owner.pid == filter!(pid))
        && (!is_active(bit::CGROUP) || owner.cgroup == filter!(cgroup))
        && (!is_active(bit::COMM) || halves(&owner.comm) == halves(&filter!(comm)))
}

/// Whether a change between these states is asked for.
#[inline(always)]
pub(crate) fn states_match(old: u8, new: u8) -> bool {
    !is_active(bit::STATE) || filter!(states) & (1 << (old & 15) | 1 << (new & 15)) != 0
}

/// Whether ends for this reason are asked for.
#[inline(always)]
pub(crate) fn reason_matches(reason: u8) -> bool {
    !is_active(bit::REASON) || filter!(reasons) & 1 << (reason & 15) != 0
}

#[inline(always)]
fn netns_matches(scratch: &Scratch) -> bool {
    let cookie = filter!(net_cookie);
    scratch.conn.netns == filter!(netns) && (cookie == 0 || scratch.net == cookie)
}

#[inline(always)]
fn end_matches(want: &'static Endpoint, addr: &[u8; 16], port: u16, family: u16) -> bool {
    let addr = if family == AF_INET {
        // v4-mapped, as user space writes IPv4 filters.
        let [first, _] = halves(addr);
        [0, (first << 32) | u64::from(u32::from_ne_bytes([0, 0, 0xff, 0xff]))]
    } else {
        halves(addr)
    };
    let (want_port, want_family) = (load(&want.port), load(&want.family));
    let (mask, wanted) = (halves(&load(&want.mask)), halves(&load(&want.addr)));
    (want_port == 0 || want_port == port)
        && (want_family == 0 || want_family == family)
        && addr[0] & mask[0] == wanted[0]
        && addr[1] & mask[1] == wanted[1]
}

/// Sixteen bytes as two words in memory order, for comparison only.
#[inline(always)]
fn halves(bytes: &[u8; 16]) -> [u64; 2] {
    // SAFETY: any sixteen bytes are two words.
    unsafe { core::mem::transmute(*bytes) }
}

//! The ends of a connection as one number: what a time-wait socket and the socket before it have in common.

use crate::maps::Scratch;

/// A number for the ends, the interface and the namespace of the connection in the scratch: sockets that are bound to
/// different interfaces may have the same ends. Each word is multiplied in, so that
/// connections that differ in a port alone differ in half the bits.
#[inline(always)]
pub(crate) fn key(scratch: &Scratch) -> u64 {
    const ODD: u64 = 0xff51_afd7_ed55_8ccd;
    let conn = &scratch.conn;
    let words = |addr: [u8; 16]| {
        // SAFETY: sixteen bytes are two words.
        unsafe { core::mem::transmute::<[u8; 16], [u64; 2]>(addr) }
    };
    let (local, remote) = (words(conn.laddr), words(conn.raddr));
    let ports = u64::from(conn.lport) << 32 | u64::from(conn.rport) << 16 | u64::from(conn.family);
    // The namespace fills the low half only.
    let mut key = scratch.net | u64::from(conn.ifindex) << 32;
    for word in [local[0], local[1], remote[0], remote[1], ports] {
        key = (key ^ word).wrapping_mul(ODD);
        key ^= key >> 32;
    }
    key
}

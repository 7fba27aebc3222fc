//! What times in TIME_WAIT can be counted by, and a key's histogram: one for all CPUs, so that its size does not grow
//! with their number.

use core::mem::size_of;

use crate::{event::AF_INET6, histogram::BUCKETS};

/// What makes a key. As a number in `Config::by`; zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum By {
    /// Who closed the connection: process id and name.
    Process = 1,
    Cgroup = 2,
    /// Remote address and port.
    Remote = 3,
    /// Remote address.
    RemoteAddress = 4,
    LocalPort = 5,
}

/// A key as it lies in the `KEYS` map, as [`By`] has it.
///
/// Process: name in two words, process id. Cgroup: id. Remote: address in two words, and interface, port and address family.
/// Local port: the port. Everything else is zero, but for the epoch ([`EPOCH_SHIFT`]) in the map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct Key(pub [u64; 3]);

/// Keys in the `KEYS` map carry their epoch in this bit of their third word, above all that makes a key: interfaces are
/// counted by a positive `int`.
pub const EPOCH_SHIFT: u32 = 63;

impl Key {
    /// An address without a port: port zero. The interface is part of a link-local address, and zero for others.
    pub const fn remote(words: [u64; 2], port: u16, family: u16, ifindex: u32) -> Self {
        let scope = if is_link_local(words, family) { ifindex } else { 0 };
        Self([words[0], words[1], (scope as u64) << 32 | (port as u64) << 16 | family as u64])
    }
}

/// True for an address in fe80::/10, given as two words in memory order.
const fn is_link_local([first, _]: [u64; 2], family: u16) -> bool {
    family == AF_INET6 && u64::from_be(first) >> 54 == 0xfe80 >> 6
}

/// Times of the sockets of one key, in the same buckets as `Histogram`. All zeroes is an empty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct KeyHistogram {
    /// Of all values, wrapping.
    pub sum: u64,
    pub counts: [u64; BUCKETS],
}

impl KeyHistogram {
    pub const EMPTY: Self = Self { sum: 0, counts: [0; BUCKETS] };
}

const _: () = {
    assert!(size_of::<Key>() == 24);
    assert!(size_of::<KeyHistogram>() == 8 + 8 * BUCKETS);
};

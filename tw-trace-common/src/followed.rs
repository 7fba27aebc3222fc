//! What the kernel side keeps of time-wait sockets: an entry for each that lives, and a ledger for each namespace.

use core::mem::size_of;

#[cfg(doc)]
use crate::event::Owner;

/// A place for a living time-wait socket in the `TIME_WAITS` map. There may be a million of them, and each is cold memory
/// by the time its socket ends: it fills one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Line {
    /// Where the socket lies; zero when the place is free.
    pub tw: u64,
    pub socket: TimeWait,
}

/// Lines of the `TIME_WAITS` map that lie side by side, and what is known without touching them: of a million sockets, a
/// cache holds this.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Neighbours {
    /// A few bits of the address of the socket in each line, or of its home where it is not at home; zero where there is
    /// none.
    pub tags: [u8; NEIGHBOURS as usize],
    /// A byte a line: one where it is a socket's, for a moment more where others wanted it too.
    pub claims: [u64; NEIGHBOURS as usize / 8],
    /// A byte a line: sockets whose first choice it is, and that have another.
    pub elsewhere: [u64; NEIGHBOURS as usize / 8],
}

pub const NEIGHBOURS: u32 = 64;

/// A living time-wait socket as the kernel side follows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TimeWait {
    /// Start of the mini-socket; zero for a seeded one.
    pub began_ns: u64,
    /// Start of TIME_WAIT proper; zero while in FIN_WAIT2, and where unknown.
    pub entered_ns: u64,
    /// The last arming; zero where unknown.
    pub armed_ns: u64,
    /// Of the owner: cgroup and process as in [`Owner`]; the name lies in a map of its own.
    pub cgroup: u64,
    pub pid: u32,
    /// The low half of `timer_list.expires` as that arming left it.
    pub armed_expires: u32,
    pub timeout_jiffies: u32,
    /// The key of its namespace's ledger, without the epoch; zero if it had no room for one.
    pub net: u32,
    /// Whose entry it is, should the address be another socket's by now: something made of the ends of the connection,
    /// and the low bits of the cookie, zero without one.
    pub ends: u16,
    pub cookie: u16,
    /// At most 65,535.
    pub rearms: u16,
    pub substate: u8,
    /// Bits of `exit_flags`, and [`FOUND`].
    pub flags: u8,
}

impl TimeWait {
    /// `timer_list.expires` of the last arming, from one that is less than 2^31 jiffies away from it.
    pub const fn full_expires(&self, near: u64) -> u64 {
        let ahead = self.armed_expires.wrapping_sub(near as u32).cast_signed();
        near.wrapping_add_signed(ahead as i64)
    }
}

/// A bit of [`TimeWait::flags`]: when the run was about to end, the kernel still had the socket.
pub const FOUND: u8 = 1 << 7;

/// A key of the `LEDGERS` map has the epoch that the ledger is of in its bits from this one on, and the namespace in those
/// below.
pub const EPOCH_SHIFT: u32 = 32;

/// The socket ledger of one network namespace, kept per CPU in the kernel:
/// `seeded + entered = exited + live + lost`, where lost is `untracked + missed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Ledger {
    /// Sockets that were in TIME_WAIT before the start.
    pub seeded: u64,
    pub entered: u64,
    /// By `ExitReason`.
    pub exited: [u64; 8],
    /// Entered, but not followed: the map was full.
    pub untracked: u64,
    /// Followed, but the end was not seen.
    pub missed: u64,
    pub rearms: u64,
    /// Ends and re-arms of sockets that were not being followed.
    pub unknown: u64,
    /// Connections that skipped TIME_WAIT, as far as seen one by one.
    pub overflow: u64,
    /// Inode of the namespace; the map's key is its cookie, as the kernel uses inodes again at once.
    pub inode: u64,
}

impl Ledger {
    pub const ZERO: Self = Self {
        seeded: 0,
        entered: 0,
        exited: [0; 8],
        untracked: 0,
        missed: 0,
        rearms: 0,
        unknown: 0,
        overflow: 0,
        inode: 0,
    };

    /// Whether anything was booked in it.
    pub fn is_used(&self) -> bool {
        Self { inode: 0, ..*self } != Self::ZERO
    }

    /// Sockets that are followed and have not ended, as far as is known.
    pub fn living(&self) -> u64 {
        let ended = self.exited.iter().sum::<u64>() + self.untracked + self.missed;
        (self.seeded + self.entered).saturating_sub(ended)
    }

    /// Field by field; the inode is that of the first that has one.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            seeded: self.seeded + other.seeded,
            entered: self.entered + other.entered,
            exited: core::array::from_fn(|reason| self.exited[reason] + other.exited[reason]),
            untracked: self.untracked + other.untracked,
            missed: self.missed + other.missed,
            rearms: self.rearms + other.rearms,
            unknown: self.unknown + other.unknown,
            overflow: self.overflow + other.overflow,
            inode: if self.inode == 0 { other.inode } else { self.inode },
        }
    }
}

const _: () = {
    assert!(size_of::<Line>() == 64);
    assert!(size_of::<Ledger>() == 16 * 8);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_an_expiry_and_one_near_it_make_the_whole() {
        for expires in [5, u64::from(u32::MAX) - 1, u64::from(u32::MAX) + 2, 7 << 32] {
            let known = TimeWait { armed_expires: expires as u32, ..TimeWait::default() };
            for near in [expires, expires + 15_000, expires.saturating_sub(15_000)] {
                assert_eq!(known.full_expires(near), expires);
            }
        }
    }
}

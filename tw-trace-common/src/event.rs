//! The records that cross from the kernel to user space, and that recordings will keep: `repr(C)`, no padding.
//!
//! All integers are in the machine's byte order; addresses are in network order, IPv4 in the first four bytes.
//! A new field goes at a record's end or into a spare byte, never between.

use core::mem::{offset_of, size_of};

/// `cookie`, `cgroup`, `pid`: zero means unknown. Durations: this value means unknown.
pub const NONE_NS: u64 = u64::MAX;

/// `family` as in `sock_common.skc_family`.
pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;

/// Which record follows a [`Head`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    State = 1,
    TwEnter = 2,
    TwRearm = 3,
    TwExit = 4,
    TwOverflow = 5,
}

impl Kind {
    pub const ALL: &'static [Self] =
        &[Self::State, Self::TwEnter, Self::TwRearm, Self::TwExit, Self::TwOverflow];

    /// The `event` key of DESIGN's records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::TwEnter => "tw_enter",
            Self::TwRearm => "tw_rearm",
            Self::TwExit => "tw_exit",
            Self::TwOverflow => "tw_overflow",
        }
    }

    pub const fn bit(self) -> u16 {
        1 << self as u8
    }

    /// The length of this kind of record in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::State => size_of::<State>(),
            Self::TwEnter => size_of::<TwEnter>(),
            Self::TwRearm => size_of::<TwRearm>(),
            Self::TwExit => size_of::<TwExit>(),
            Self::TwOverflow => size_of::<TwOverflow>(),
        }
    }
}

impl TryFrom<u8> for Kind {
    type Error = crate::state::Unnamed;
    fn try_from(byte: u8) -> Result<Self, Self::Error> {
        Self::ALL.iter().copied().find(|kind| *kind as u8 == byte).ok_or(crate::state::Unnamed(byte))
    }
}

/// The first 16 bytes of every record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Head {
    /// CLOCK_MONOTONIC (`bpf_ktime_get_ns`).
    pub mono_ns: u64,
    /// The CPU the event happened on; for an expiry, the one that fired the timer.
    pub cpu: u32,
    /// A [`Kind`].
    pub kind: u8,
    pub spare: u8,
    pub spare2: u16,
}

/// The process a connection belongs to: who made the transition, or who closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Owner {
    /// cgroup v2 id, zero when unknown.
    pub cgroup: u64,
    /// Process id (the kernel's tgid) in the initial pid namespace, zero when unknown.
    pub pid: u32,
    pub spare: u32,
    /// The task's name, NUL-padded.
    pub comm: [u8; 16],
}

/// The unknown owner.
pub const NOBODY: Owner = Owner { cgroup: 0, pid: 0, spare: 0, comm: [0; 16] };

/// Which connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Conn {
    /// `sock_common.skc_cookie`, zero when the kernel gave none.
    pub cookie: u64,
    pub laddr: [u8; 16],
    pub raddr: [u8; 16],
    /// Host order.
    pub lport: u16,
    /// Host order.
    pub rport: u16,
    /// [`AF_INET`] or [`AF_INET6`] (v4-mapped sockets are AF_INET6).
    pub family: u16,
    pub spare: u16,
    /// Inode of the network namespace (`net.ns.inum`).
    pub netns: u32,
    /// Index of the interface that the socket is bound to (`sock_common.skc_bound_dev_if`), zero where to none.
    pub ifindex: u32,
}

/// Where a time-wait timer sits on the timer wheel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Wheel {
    /// `timer_list.expires`: the jiffy that was asked for.
    pub expires: u64,
    /// The jiffy its bucket is due, `expires` rounded up to the level's granularity.
    pub bucket: u64,
    /// The CPU base it sits on (`timer_list.flags & 0x3ffff`).
    pub cpu: u32,
    /// `idx / 64`; the granularity is `1 << 3 * level` jiffies.
    pub level: u8,
    /// `idx % 64`.
    pub slot: u8,
    pub spare: u16,
}

/// `inet_sock_set_state`: a full socket went from one state to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct State {
    pub head: Head,
    pub conn: Conn,
    pub owner: Owner,
    /// Time spent in `old`, [`NONE_NS`] when its start was not seen.
    pub dwell_ns: u64,
    /// A `TcpState`.
    pub old: u8,
    /// A `TcpState`.
    pub new: u8,
    pub spare: u16,
    pub spare2: u32,
}

/// A time-wait socket began, or went from the FIN_WAIT2 substate to TIME_WAIT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TwEnter {
    pub head: Head,
    pub conn: Conn,
    pub owner: Owner,
    pub wheel: Wheel,
    /// Jiffies from now to `wheel.expires`.
    pub timeout_jiffies: u64,
    /// A `Substate`.
    pub substate: u8,
    /// An `Entered`: estimated when the flip to TIME_WAIT was only found at the exit.
    pub entered: u8,
    pub spare: u16,
    pub spare2: u32,
}

/// A time-wait socket's clock was restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TwRearm {
    pub head: Head,
    pub conn: Conn,
    pub owner: Owner,
    pub wheel: Wheel,
    /// Since the arming before this one.
    pub elapsed_ns: u64,
    pub timeout_jiffies: u64,
    /// A `Substate`.
    pub substate: u8,
    /// A `RearmCause`.
    pub cause: u8,
    pub spare: u16,
    pub spare2: u32,
}

/// A time-wait socket ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TwExit {
    pub head: Head,
    pub conn: Conn,
    pub owner: Owner,
    pub wheel: Wheel,
    /// Time in TIME_WAIT proper; zero when it ended in the FIN_WAIT2 substate; [`NONE_NS`] when unknown.
    pub duration_ns: u64,
    /// Time in the FIN_WAIT2 substate; zero when there was none; [`NONE_NS`] when unknown.
    pub fin_wait2_ns: u64,
    /// Since the last arming; [`NONE_NS`] when unknown.
    pub since_arming_ns: u64,
    /// From the due time of the bucket to now (expired only, else [`NONE_NS`]).
    pub lateness_ns: u64,
    /// What the last arming asked for; zero when unknown.
    pub timeout_jiffies: u64,
    /// Times the clock was restarted, as far as seen.
    pub rearms: u32,
    /// An `ExitReason`.
    pub reason: u8,
    /// A `Substate`: the one it ended in.
    pub substate: u8,
    /// An `Entered`.
    pub entered: u8,
    /// Bits of [`exit_flags`].
    pub flags: u8,
}

/// Bits of [`TwExit::flags`].
pub mod exit_flags {
    /// The socket was in TIME_WAIT before tw-trace started.
    pub const SEEDED: u8 = 1;
    /// At least one re-arm went into the same wheel slot and was only found at the exit: `rearms` is a
    /// lower bound, the last arming is known to a jiffy.
    pub const HIDDEN_REARM: u8 = 2;
    /// The change to TIME_WAIT was such a re-arm: its time is known to a jiffy.
    pub const HIDDEN_FLIP: u8 = 4;
}

/// `inet_twsk_alloc` gave no mini-socket: the connection skipped TIME_WAIT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TwOverflow {
    pub head: Head,
    pub conn: Conn,
    pub owner: Owner,
    /// `net.ipv4.tcp_max_tw_buckets` of the namespace, [`NONE_NS`] when unknown.
    pub limit: u64,
}

const _: () = {
    assert!(size_of::<Head>() == 8 + 4 + 1 + 3);
    assert!(size_of::<Owner>() == 8 + 4 + 4 + 16);
    assert!(size_of::<Conn>() == 8 + 2 * 16 + 4 * 2 + 2 * 4);
    assert!(size_of::<Wheel>() == 2 * 8 + 4 + 4);
    assert!(size_of::<State>() == COMMON + 8 + 8);
    assert!(size_of::<TwEnter>() == COMMON + 24 + 8 + 8);
    assert!(size_of::<TwRearm>() == COMMON + 24 + 8 + 8 + 8);
    assert!(size_of::<TwExit>() == COMMON + 24 + 5 * 8 + 4 + 4);
    assert!(size_of::<TwOverflow>() == COMMON + 8);
    assert!(offset_of!(State, conn) == 16 && offset_of!(TwExit, conn) == 16);
    assert!(offset_of!(State, owner) == 72 && offset_of!(TwExit, owner) == 72);
    assert!(offset_of!(TwEnter, wheel) == COMMON && offset_of!(TwRearm, wheel) == COMMON);
    assert!(offset_of!(TwExit, wheel) == COMMON && offset_of!(TwExit, duration_ns) == COMMON + 24);
};

/// Head, connection and owner: what every record begins with.
const COMMON: usize = 16 + 56 + 32;

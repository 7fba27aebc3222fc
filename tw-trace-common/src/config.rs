//! What user space tells the kernel side at load time, as read-only globals: the verifier prunes what is off.

use core::mem::size_of;

/// How a frame of the kernel stack at an early end is read. The number is the index into the `CALLERS` global.
///
/// Ranges are of kernel text, from kallsyms; an absent symbol is the empty range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Caller {
    /// The timer softirq is taking the timer off to fire it: `__run_timers` and what it is inlined into.
    Firing = 0,
    /// `mod_timer` and its like: the clock is being restarted, a start event follows.
    Rearming = 1,
    /// `__inet_check_established`, `__inet6_check_established`, `__inet_hash_connect`.
    Connect = 2,
    /// `tcp_timewait_state_process` ends it itself only for an RST.
    StateProcess = 3,
    /// `tcp_v4_rcv`, `tcp_v6_rcv`: a new SYN (substate TIME_WAIT) or our RST (substate FIN_WAIT2).
    Receive = 4,
    /// `tcp_abort`.
    Abort = 5,
    /// `inet_twsk_purge`, `tcp_twsk_purge`.
    Purge = 6,
    /// A CPU went offline, and its timers are put on the wheel of another: `timers_dead_cpu`. A start event follows.
    Moving = 7,
}

/// A range of kernel text and whose it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CallerRange {
    pub start: u64,
    /// The first address behind it.
    pub end: u64,
    /// A [`Caller`].
    pub caller: u64,
}

impl CallerRange {
    pub const NONE: Self = Self { start: 0, end: 0, caller: 0 };
}

/// Room for the symbols of all callers, with their compiler-made variants (`.part.0`, `.constprop.0`).
pub const CALLER_RANGES: usize = 24;

/// Ring buffers: CPU `n` writes into ring `n` modulo those in use, so that CPUs seldom wait for each other.
pub const RINGS: usize = 8;

/// Kernel stack frames that are looked at.
pub const STACK_FRAMES: usize = 16;

/// Settings of one run. Zero-valued filters match everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Config {
    /// Nanoseconds of a jiffy (`TICK_NSEC`).
    pub tick_ns: u64,
    /// Address of `tw_timer_handler`.
    pub tw_timer_handler: u64,
    pub filter: Filter,
    /// Mask of `Kind::bit` to be streamed.
    pub stream: u16,
    /// Bits of [`mode_bits`].
    pub mode: u16,
    /// Number of places in the `SOCKETS` map, a power of two, less one.
    pub socket_mask: u32,
    /// Rings in use, a power of two of at most [`RINGS`], less one.
    pub ring_mask: u32,
    /// A [`By`](crate::keys::By) as a number; zero where nothing is counted by key.
    pub by: u32,
    /// Lines of the `TIME_WAITS` map: a multiple of [`NEIGHBOURS`](crate::followed::NEIGHBOURS).
    pub time_wait_lines: u32,
    pub spare: u32,
    /// The pid namespace whose numbers are wanted: `dev_t` of nsfs as the kernel has it, and the namespace's inode.
    /// Zeroes where that is the initial one.
    pub pid_namespace_dev: u64,
    pub pid_namespace_inode: u64,
}

impl Config {
    pub const ZERO: Self = Self {
        tick_ns: 0,
        tw_timer_handler: 0,
        filter: Filter::NONE,
        stream: 0,
        mode: 0,
        socket_mask: 0,
        ring_mask: 0,
        by: 0,
        time_wait_lines: 0,
        spare: 0,
        pid_namespace_dev: 0,
        pid_namespace_inode: 0,
    };
}

/// Bits of [`Config::mode`].
pub mod mode_bits {
    /// Programs cannot ask for a socket's cookie: sockets are known by address, time-wait sockets and their
    /// owners find each other by the ends of the connection.
    pub const KEYLESS: u16 = 1;
    /// Re-arms and ends come from the functions that make them; trace events only tell first armings.
    pub const FUNCTIONS: u16 = 1 << 1;
    /// Nobody asks whose a connection is: owners are neither read nor kept.
    pub const OWNERLESS: u16 = 1 << 2;
    /// The times of time-wait sockets that end are counted in histograms.
    pub const COUNT_TIME_WAITS: u16 = 1 << 3;
    /// The time that full sockets spent in each state is counted in histograms.
    pub const COUNT_DWELL: u16 = 1 << 4;
    /// There may be time-wait sockets of DCCP, whose timers are like those of TCP.
    pub const DCCP: u16 = 1 << 5;
}

/// Filters that the kernel side applies. A bit of `active` tells which are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Filter {
    pub cgroup: u64,
    pub comm: [u8; 16],
    pub local: Endpoint,
    pub remote: Endpoint,
    pub pid: u32,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Its cookie, which is never used again; zero where it is not known.
    pub net_cookie: u64,
    pub family: u16,
    /// Local or remote port.
    pub port: u16,
    /// Mask of `TcpState::bit`, old or new.
    pub states: u16,
    /// Mask of `ExitReason::bit`.
    pub reasons: u16,
    /// Bits of [`filter_bits`].
    pub active: u32,
    pub spare: u32,
}

impl Filter {
    pub const NONE: Self = Self {
        cgroup: 0,
        comm: [0; 16],
        local: Endpoint::ANY,
        remote: Endpoint::ANY,
        pid: 0,
        netns: 0,
        net_cookie: 0,
        family: 0,
        port: 0,
        states: 0,
        reasons: 0,
        active: 0,
        spare: 0,
    };
}

/// Words that both sides write while the programs run: the keys of the `CELLS` map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Cell {
    /// Jiffies that TIME_WAIT proper is armed for, as [`length`](crate::length) has it; zero while unknown.
    TimewaitLen = 0,
    /// CLOCK_MONOTONIC at jiffy zero, wrapped: jiffy J is due at `JiffyZeroNs + J * tick_ns`.
    JiffyZeroNs = 1,
    /// CLOCK_MONOTONIC and the jiffies at one moment, as the calibration took them.
    ClockNs = 2,
    ClockJiffies = 3,
    /// Cookie (or inode) of the network namespace in which user space learned the TIME_WAIT length: not told.
    OwnNet = 4,
    /// A [`Phase`].
    Phase = 5,
    /// Entries of `WHEEL_SEEDS`.
    WheelSeeds = 6,
    /// Sockets of before the start that it counted.
    WheelSeeded = 7,
    /// Zero or one: the part of `LEDGERS` in which is booked. User space flips it to take out the other.
    LedgerEpoch = 8,
    /// The same of `KEYS`.
    KeyEpoch = 9,
}

impl Cell {
    pub const COUNT: u32 = 10;
}

/// How far a run is: the value of [`Cell::Phase`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Phase {
    Watching = 0,
    /// Sockets of before the start are being looked for.
    Seeding = 1,
    /// The length of TIME_WAIT is being learned, and the other programs are being attached: no socket is followed that
    /// enters TIME_WAIT.
    Learning = 2,
    /// The run is about to end: of the sockets that are followed, those that the kernel still has are being marked.
    Checking = 3,
    /// Sockets that found no room before are being looked for.
    SeedingAgain = 4,
}

/// An address prefix and port. IPv4 is written v4-mapped, so that one comparison serves both families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Endpoint {
    pub addr: [u8; 16],
    pub mask: [u8; 16],
    /// Zero matches every port.
    pub port: u16,
    /// The address family it takes: IPv6 prefixes like ::/0 must not take IPv4; zero takes both.
    pub family: u16,
    pub spare: [u16; 2],
}

impl Endpoint {
    pub const ANY: Self = Self { addr: [0; 16], mask: [0; 16], port: 0, family: 0, spare: [0; 2] };
}

/// Bits of [`Filter::active`].
pub mod filter_bits {
    pub const PID: u32 = 1;
    pub const COMM: u32 = 1 << 1;
    pub const CGROUP: u32 = 1 << 2;
    pub const NETNS: u32 = 1 << 3;
    pub const LOCAL: u32 = 1 << 4;
    pub const REMOTE: u32 = 1 << 5;
    pub const PORT: u32 = 1 << 6;
    pub const FAMILY: u32 = 1 << 7;
    pub const STATE: u32 = 1 << 8;
    pub const REASON: u32 = 1 << 9;
    /// Filters on who owns the connection.
    pub const OWNER: u32 = PID | COMM | CGROUP;
    /// Filters on where the connection is.
    pub const CONN: u32 = NETNS | LOCAL | REMOTE | PORT | FAMILY;
}

const _: () = {
    assert!(size_of::<CallerRange>() == 24);
    assert!(size_of::<Endpoint>() == 40);
    assert!(size_of::<Filter>() == 8 + 16 + 80 + 8 + 8 + 8 + 8);
    assert!(size_of::<Config>() == 16 + size_of::<Filter>() + 24 + 16);
};

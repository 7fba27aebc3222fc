//! Every map. Sizes are defaults; user space sets them before loading.

use core::arch::asm;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf},
};
use tw_trace_common::{
    config::{Cell, STACK_FRAMES},
    counter,
    event::{Conn, Owner},
    followed::{Ledger, Line, Neighbours, TimeWait},
    histogram::{Histogram, Series},
    keys::{Key, KeyHistogram},
    wheel::{Slot, WheelCpu},
};

use crate::memory::Common;

/// Records for user space, [`tw_trace_common::config::RINGS`] of them: see `emit`.
macro_rules! rings {
    ($($name:ident)+) => { $(#[map] pub(crate) static $name: RingBuf = RingBuf::with_byte_size(4096, 0);)+ };
}
rings!(RING_0 RING_1 RING_2 RING_3 RING_4 RING_5 RING_6 RING_7);

/// Full sockets: see `sockets`.
#[map]
pub(crate) static SOCKETS: Array<Socket> = Array::with_max_entries(1 << 17, 0);

/// Full sockets that outlived their place among the others. The least recently used go first: those whose end
/// was missed.
#[map]
pub(crate) static OLD_SOCKETS: LruHashMap<u64, Socket> = LruHashMap::with_max_entries(1 << 14, 0);

/// Listeners' children by address, until they have cookies: see `hook::child`.
#[map]
pub(crate) static CHILDREN: Array<Child> = Array::with_max_entries(CHILDREN_COUNT, 0);

/// Those whose place among the others was wanted again: since when, by address.
#[map]
pub(crate) static OLD_CHILDREN: LruHashMap<u64, u64> = LruHashMap::with_max_entries(CHILDREN_COUNT, 0);

/// A power of two. Only Fast Open children stay for longer than one softirq.
pub(crate) const CHILDREN_COUNT: u32 = 4096;

/// A child that has just been made.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Child {
    /// Its address; zero when the place is free.
    pub(crate) sk: u64,
    pub(crate) since_ns: u64,
}

/// Owners of sockets that went to FIN_WAIT1, by the ends of the connection: where there are no cookies, nothing
/// else leads from a time-wait socket to the socket it replaces. One entry where there are.
#[map]
pub(crate) static CLOSERS: LruHashMap<u64, Owner> = LruHashMap::with_max_entries(1, 0);

/// Who closed an MPTCP socket, by its address: the kernel closes its subflows later. The least recently used go first.
#[map]
pub(crate) static MPTCP_CLOSERS: LruHashMap<u64, Owner> = LruHashMap::with_max_entries(1 << 12, 0);

/// Ids of cgroups that processes acted on sockets from, until user space has taken them out: by the end of a socket its
/// cgroup may be gone, and with it the path. One entry where nobody asks for owners.
#[map]
pub(crate) static CGROUPS_SEEN: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1, 0);

/// Calls of `inet_twsk_alloc` that kretprobes wait for, by where their return address lies: no other call under
/// way has the same, whatever interrupts it and wherever it goes on.
#[map]
pub(crate) static ALLOCATIONS: HashMap<u64, Allocation> = HashMap::with_max_entries(1024, 0);

/// The arguments of one of them.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Allocation {
    pub(crate) sk: u64,
    pub(crate) death_row: u64,
}

/// Living time-wait sockets, from the first arming (or the seeding) to the end: see `followed`. Maps of memory that can
/// be mapped begin with a page, so that no line lies in two cache lines.
#[map]
pub(crate) static TIME_WAITS: Array<Line> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The one that is being seeded: see `hook::seed`. With room for more, so that ends seldom share the lock of a bucket.
#[map]
pub(crate) static SEEDING: HashMap<u64, u64> = HashMap::with_max_entries(64, 0);

/// The names of their owners, by the index of the line. One entry where nobody asks for owners.
#[map]
pub(crate) static NAMES: Array<[u64; 2]> = Array::with_max_entries(1, 0);

/// What is in each of [`NEIGHBOURS`](tw_trace_common::followed::NEIGHBOURS) lines.
#[map]
pub(crate) static NEIGHBOURHOODS: Array<Neighbours> = Array::with_max_entries(1, 0);

/// The socket ledger of each network namespace, by the low half of its cookie: they are handed out one after the
/// other. By inode where the kernel has no cookies. The epoch is above it: user space takes the entries of the epoch before
/// out, so that namespaces that come and go do not fill the map. The entry of key zero is there in both epochs.
#[map]
pub(crate) static LEDGERS: PerCpuHashMap<u64, Ledger> = PerCpuHashMap::with_max_entries(1024, 0);

/// `tw_trace_common::counter`.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNT, 0);

/// By `Series::key`. One entry where a view wants none.
#[map]
pub(crate) static HISTOGRAMS: PerCpuArray<Histogram> = PerCpuArray::with_max_entries(Series::COUNT, 0);

/// Times in TIME_WAIT by key, and by the epoch above it: user space takes the entries of the epoch before out, so that keys
/// that come and go do not fill the map. One entry where nobody wants them.
#[map]
pub(crate) static KEYS: HashMap<Key, KeyHistogram> = HashMap::with_max_entries(1, 0);

/// Time-wait timers by bucket, for the wheel view: `tw_trace_common::wheel::Slot`.
#[map]
pub(crate) static WHEEL_SLOTS: Array<Slot> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The slot in which a time-wait timer is counted, while sockets of before the start are being counted, and those
/// of them that are left after that.
#[map]
pub(crate) static WHEEL_SEEDS: HashMap<u64, u32> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static WHEEL_CPU: PerCpuArray<WheelCpu> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static CPU: PerCpuArray<Cpu> = PerCpuArray::with_max_entries(1, 0);

/// `tw_trace_common::config::Cell`.
#[map]
pub(crate) static CELLS: Array<u64> = Array::with_max_entries(Cell::COUNT, 0);

#[inline(always)]
pub(crate) fn cell(cell: Cell) -> u64 {
    // SAFETY: an aligned word, always there; a racing write is seen whole or not at all.
    CELLS.get_ptr(cell as u32).map_or(0, |word| unsafe { *word })
}

#[inline(always)]
pub(crate) fn set_cell(cell: Cell, value: u64) {
    if let Some(word) = CELLS.get_ptr_mut(cell as u32) {
        // SAFETY: as in `cell`.
        unsafe { *word = value }
    }
}

/// Adds to a cell that several CPUs change.
#[inline(always)]
pub(crate) fn add_to_cell(cell: Cell, by: i64) {
    if let Some(word) = CELLS.get_ptr_mut(cell as u32) {
        fetch_add(word, by);
    }
}

/// In one piece, whoever else does the same. The compiler has no atomic additions for this machine yet.
#[inline(always)]
pub(crate) fn fetch_add(word: *mut u64, by: i64) {
    // SAFETY: an aligned word of a map; the instruction is BPF_XADD, as old as BPF.
    unsafe { asm!("lock *(u64 *)({word} + 0) += {by}", word = in(reg) word, by = in(reg) by) }
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Socket {
    /// The socket's cookie, or its address where there are no cookies. Zero when the place is free.
    pub(crate) key: u64,
    pub(crate) since_ns: u64,
    pub(crate) owner: Owner,
    /// The state it has been in since: a change that was missed must not lend its time to another.
    pub(crate) state: u8,
    /// One in the SYN_RECV of a listener's child.
    pub(crate) is_child: u8,
    pub(crate) spare: [u8; 6],
}

/// Room for what would not fit on the 512 bytes of stack, one per kind of program, because a softirq may
/// interrupt a program that runs in process context.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(Place::COUNT, 0);

/// Whose scratch it is. State changes nest, and have two; timer events of time-wait sockets never nest.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Place {
    SetState = 0,
    Timer = 1,
    Iterator = 2,
    Segment = 3,
    SetStateInSoftirq = 4,
}

impl Place {
    const COUNT: u32 = 5;

    #[inline(always)]
    pub(crate) fn scratch(self) -> Option<&'static mut Scratch> {
        // SAFETY: a map value of this CPU that no other program uses meanwhile, see above.
        SCRATCH.get_ptr_mut(self as u32).map(|scratch| unsafe { &mut *scratch })
    }
}

#[repr(C)]
pub(crate) struct Scratch {
    /// A copy of the beginning of a `struct sock_common`.
    pub(crate) common: Common,
    pub(crate) conn: Conn,
    /// The network namespace: the low half of its cookie, or its inode where the kernel has no cookies. `conn.netns` is
    /// its inode from one event to the next: neither is written alone (`sock::read_conn`).
    pub(crate) net: u64,
    pub(crate) time_wait: TimeWait,
    /// Who closed it.
    pub(crate) owner: Owner,
    pub(crate) frames: [u64; STACK_FRAMES],
    /// A socket's, as a number.
    pub(crate) address: u64,
    /// Options of a TCP header, of which there are 40 bytes at the most.
    pub(crate) options: [u8; OPTIONS],
    /// Where the next one begins.
    pub(crate) option: u64,
    pub(crate) key: Key,
}

/// A power of two, so that a mask keeps every index within.
pub(crate) const OPTIONS: usize = 64;

/// What one CPU remembers from one event to the next.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Cpu {
    /// Where the head of the list of timers being fired lies (`timer_list.entry.pprev` of the first).
    pub(crate) firing_head: u64,
    /// The time-wait timer that is being restarted: its start event follows at once, under the same lock.
    pub(crate) rearming: u64,
    /// The time-wait timer that is being moved here from a CPU that went offline; its start event follows likewise.
    pub(crate) moving: u64,
    /// A state change of this level is being told: see `hook::alone`.
    pub(crate) telling: u64,
    pub(crate) telling_in_softirq: u64,
    /// The last change in softirq that the first of two programs had: the socket, and its new state.
    pub(crate) marked: u64,
    pub(crate) marked_as: u64,
    /// The time-wait socket whose timer just fired: `inet_twsk_kill` follows at once.
    pub(crate) expired: u64,
    /// The cgroup that was last entered in `CGROUPS_SEEN`.
    pub(crate) cgroup: u64,
    pub(crate) segment: Segment,
}

/// A segment that reached a time-wait socket, while `tcp_timewait_state_process` looks at it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Segment {
    /// Zero when there is none.
    pub(crate) tw: u64,
    /// A `RearmCause`: what it is the cause of, should the clock be restarted.
    pub(crate) cause: u64,
}

//! What the kernel side is told at load time: facts of this kernel, what is asked for, and how much room there is.

use tw_trace_common::{
    config::{CALLER_RANGES, CallerRange, Filter},
    fields::Offsets,
    keys::By,
};

use super::{pid_namespace::PidNamespace, prepare::Resolved, tick::Tick};

/// The settings of one run.
pub struct Settings {
    pub offsets: Offsets,
    pub callers: [CallerRange; CALLER_RANGES],
    /// Address of `tw_timer_handler`.
    pub tw_timer_handler: u64,
    pub tick: Tick,
    /// Mask of `Kind::bit` to stream.
    pub stream: u16,
    pub filter: Filter,
    /// The pid namespace whose numbers are wanted, if that is not the initial one.
    pub pid_namespace: Option<PidNamespace>,
    /// Bits of `mode_bits` beyond those of the plan.
    pub mode: u16,
    /// What times in TIME_WAIT are counted by.
    pub by: Option<By>,
    pub sizes: Sizes,
    pub log: Log,
}

impl Settings {
    /// For a view that streams nothing and has room for nothing.
    pub const fn new(kernel: &Resolved, filter: Filter, log: Log) -> Self {
        Self {
            offsets: kernel.offsets,
            callers: kernel.callers,
            tw_timer_handler: kernel.tw_timer_handler,
            tick: kernel.tick,
            stream: 0,
            filter,
            pid_namespace: kernel.pid_namespace,
            mode: 0,
            by: None,
            sizes: Sizes::LEAST,
            log,
        }
    }
}

/// How much the verifier is asked to say of a program that it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// The reason.
    Reason,
    /// Every instruction on the way to it.
    Whole,
}

/// Room in the maps.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes of all ring buffers together, a power of two of whole pages.
    pub ring: u32,
    /// Bytes of memory for records that have left them and wait to be handed on.
    pub spool: u32,
    /// Time-wait sockets followed at once; some more can be.
    pub time_waits: u32,
    /// Places for full sockets, a power of two; some more than that can be followed.
    pub sockets: u32,
    /// Of the wheel view: buckets, and sockets of before the start.
    pub wheel_slots: u32,
    pub wheel_seeds: u32,
    /// Histograms, from the first `Series` on.
    pub histograms: u32,
    /// Keys that times in TIME_WAIT are counted by, at once; the map has room for as many that come in a second.
    pub keys: u32,
}

impl Sizes {
    /// Room for what a view does not want: a map cannot be left out of the object.
    pub const LEAST: Self = Self {
        ring: 4096,
        spool: 0,
        time_waits: 1,
        sockets: 1,
        wheel_slots: 1,
        wheel_seeds: 1,
        histograms: 1,
        keys: 1,
    };
}

//! Read-only globals that user space fills before loading; the verifier sees constants and prunes what is off.

use tw_trace_common::{
    config::{CALLER_RANGES, CallerRange, Cell, Config, mode_bits},
    event::Kind,
    fields::Offsets,
};

use crate::maps::cell;

#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Offsets = Offsets::NONE;

#[unsafe(no_mangle)]
pub(crate) static CONFIG: Config = Config::ZERO;

#[unsafe(no_mangle)]
pub(crate) static CALLERS: [CallerRange; CALLER_RANGES] = [CallerRange::NONE; CALLER_RANGES];

/// The value that user space gave a global, or a part of one.
#[inline(always)]
pub(crate) fn load<T: Copy>(place: &'static T) -> T {
    // SAFETY: an initialised, aligned place; volatile keeps the compiler from folding the build-time value.
    unsafe { core::ptr::read_volatile(place) }
}

/// The offset of one kernel field.
macro_rules! offset {
    ($field:ident) => {
        usize::from($crate::globals::load(&$crate::globals::OFFSETS.$field))
    };
}
pub(crate) use offset;

/// Whether records of this kind go to user space.
#[inline(always)]
pub(crate) fn streams(kind: Kind) -> bool {
    load(&CONFIG.stream) & kind.bit() != 0
}

/// Whether programs cannot ask for cookies here.
#[inline(always)]
pub(crate) fn keyless() -> bool {
    load(&CONFIG.mode) & mode_bits::KEYLESS != 0
}

/// Whether functions tell re-arms and ends.
#[inline(always)]
pub(crate) fn functions() -> bool {
    load(&CONFIG.mode) & mode_bits::FUNCTIONS != 0
}

/// Whether anybody asks whose a connection is.
#[inline(always)]
pub(crate) fn owners() -> bool {
    load(&CONFIG.mode) & mode_bits::OWNERLESS == 0
}

/// Whether the times of time-wait sockets that end are counted.
#[inline(always)]
pub(crate) fn counts_time_waits() -> bool {
    load(&CONFIG.mode) & mode_bits::COUNT_TIME_WAITS != 0
}

/// Whether the times that full sockets spend in their states are counted.
#[inline(always)]
pub(crate) fn counts_dwell() -> bool {
    load(&CONFIG.mode) & mode_bits::COUNT_DWELL != 0
}

/// True where there may be time-wait sockets of DCCP.
#[inline(always)]
pub(crate) fn dccp() -> bool {
    load(&CONFIG.mode) & mode_bits::DCCP != 0
}

/// Device and inode of the pid namespace whose numbers are wanted, if that is not the initial one.
#[inline(always)]
pub(crate) fn pid_namespace() -> Option<(u64, u64)> {
    let inode = load(&CONFIG.pid_namespace_inode);
    if inode == 0 { None } else { Some((load(&CONFIG.pid_namespace_dev), inode)) }
}

/// Nanoseconds of a jiffy.
#[inline(always)]
pub(crate) fn tick_ns() -> u64 {
    load(&CONFIG.tick_ns)
}

/// CLOCK_MONOTONIC when this jiffy was due.
#[inline(always)]
pub(crate) fn jiffy_ns(jiffy: u64) -> u64 {
    cell(Cell::JiffyZeroNs).wrapping_add(jiffy.wrapping_mul(tick_ns()))
}

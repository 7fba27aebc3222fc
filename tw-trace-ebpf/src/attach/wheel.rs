//! Shims of the wheel view: BTF trace events, and the iterator. Arguments out, nothing else.
#![expect(clippy::needless_pass_by_value, reason = "the attribute macros ask for it")]

use core::ffi::c_void;

use aya_ebpf::{EbpfContext, macros::btf_tracepoint, programs::BtfTracePointContext};

use super::{
    iter_tcp::{IterTcp, time_wait},
    trace_event::is_time_wait,
};
use crate::{hook, memory::Typed};

/// `TP_PROTO(struct timer_list *timer, …)` (include/trace/events/timer.h, 5.10 – 7.3).
#[btf_tracepoint(function = "timer_start")]
pub(crate) fn wheel_timer_start(ctx: BtfTracePointContext) -> i32 {
    let timer: *const c_void = ctx.arg(0);
    if is_time_wait(timer) {
        hook::wheel::started::<Typed>(timer as u64);
    }
    0
}

/// `TP_PROTO(struct timer_list *timer)` (include/trace/events/timer.h, 5.10 – 7.3).
#[btf_tracepoint(function = "timer_cancel")]
pub(crate) fn wheel_timer_cancel(ctx: BtfTracePointContext) -> i32 {
    let timer: *const c_void = ctx.arg(0);
    if is_time_wait(timer) {
        hook::wheel::cancelled::<Typed>(ctx.as_ptr(), timer as u64);
    }
    0
}

/// `TP_PROTO(struct timer_list *timer, unsigned long baseclk)` (include/trace/events/timer.h, 5.10 – 7.3).
#[btf_tracepoint(function = "timer_expire_entry")]
pub(crate) fn wheel_timer_expire_entry(ctx: BtfTracePointContext) -> i32 {
    let timer: *const c_void = ctx.arg(0);
    if is_time_wait(timer) {
        hook::wheel::fired::<Typed>(timer as u64, ctx.arg(1));
    }
    0
}

/// See `iter_tcp`.
///
/// # Safety
///
/// Called by the kernel with a `struct bpf_iter__tcp`.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub(crate) unsafe extern "C" fn wheel_iter_tcp(ctx: *const IterTcp) -> i32 {
    // SAFETY: the kernel's context.
    if let Some(tw) = unsafe { time_wait(ctx) } {
        hook::wheel::seeded(tw);
    }
    0
}

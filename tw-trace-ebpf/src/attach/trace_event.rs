//! Shims of the trace-event backend: BTF trace events, arguments out, nothing else.
#![expect(clippy::needless_pass_by_value, reason = "the attribute macros ask for it")]

use core::ffi::c_void;

use aya_ebpf::{EbpfContext, macros::btf_tracepoint, programs::BtfTracePointContext};

use crate::{
    globals::{CONFIG, load, offset},
    hook,
    memory::{Memory, Typed},
    sock,
};

/// `TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)`
/// (include/trace/events/sock.h, 5.10 – 7.3).
#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn tp_inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    let sk: *mut c_void = ctx.arg(0);
    let (old, new): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    #[cfg(feature = "debug-log")]
    aya_log_ebpf::debug!(&ctx, "inet_sock_set_state: {} to {}", old, new);
    hook::set_state::state_changed::<Typed>(sk as u64, old as u8, new as u8, || sock::cookie(sk));
    0
}

/// The same event, behind the program above or those on functions: see `hook::alone`.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn tp_inet_sock_set_state_again(ctx: BtfTracePointContext) -> i32 {
    let sk: *mut c_void = ctx.arg(0);
    let (old, new): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    hook::set_state::state_changed_again::<Typed>(sk as u64, old as u8, new as u8, || sock::cookie(sk));
    0
}

/// `TP_PROTO(struct timer_list *timer, …)`: what follows changed in 6.7 and is not read
/// (include/trace/events/timer.h, 5.10 – 7.3).
#[btf_tracepoint(function = "timer_start")]
pub(crate) fn tp_timer_start(ctx: BtfTracePointContext) -> i32 {
    let timer: *const c_void = ctx.arg(0);
    if is_time_wait(timer) {
        #[cfg(feature = "debug-log")]
        aya_log_ebpf::debug!(&ctx, "timer_start of a time-wait socket");
        hook::timer::started::<Typed>(timer as u64);
    }
    0
}

/// `TP_PROTO(struct timer_list *timer)` (include/trace/events/timer.h, 5.10 – 7.3).
#[btf_tracepoint(function = "timer_cancel")]
pub(crate) fn tp_timer_cancel(ctx: BtfTracePointContext) -> i32 {
    let timer: *const c_void = ctx.arg(0);
    if is_time_wait(timer) {
        #[cfg(feature = "debug-log")]
        aya_log_ebpf::debug!(&ctx, "timer_cancel of a time-wait socket");
        hook::timer::cancelled::<Typed>(ctx.as_ptr(), timer as u64);
    }
    0
}

/// `TP_PROTO(struct timer_list *timer, unsigned long baseclk)` (include/trace/events/timer.h, 5.10 – 7.3).
#[btf_tracepoint(function = "timer_expire_entry")]
pub(crate) fn tp_timer_expire_entry(ctx: BtfTracePointContext) -> i32 {
    let timer: *const c_void = ctx.arg(0);
    if is_time_wait(timer) {
        hook::timer::fired::<Typed>(timer as u64, ctx.arg(1));
    }
    0
}

/// `timer->function == tw_timer_handler`, without a helper call: every timer of the
/// machine passes here, and it would cost ten times as much.
#[inline(always)]
pub(crate) fn is_time_wait(timer: *const c_void) -> bool {
    Typed::read::<u64>(timer as u64, offset!(timer_function)) == load(&CONFIG.tw_timer_handler)
}

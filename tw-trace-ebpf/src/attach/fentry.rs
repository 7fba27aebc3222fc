//! Shims of the fentry backend: functions of the kernel, through trampolines. Arguments out, nothing else.
#![expect(clippy::needless_pass_by_value, reason = "the attribute macros ask for it")]

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};

use crate::{hook, memory::Typed, sock};

/// `void tcp_set_state(struct sock *sk, int state)` (net/ipv4/tcp.c, 5.10 – 7.3).
#[fentry(function = "tcp_set_state")]
pub(crate) fn fentry_tcp_set_state(ctx: FEntryContext) -> i32 {
    entering(&ctx);
    0
}

/// `void inet_sk_set_state(struct sock *sk, int state)` (net/ipv4/af_inet.c, 5.10 – 7.3): the child of a listener,
/// and a listen() that failed, go past `tcp_set_state`.
#[fentry(function = "inet_sk_set_state")]
pub(crate) fn fentry_inet_sk_set_state(ctx: FEntryContext) -> i32 {
    entering(&ctx);
    0
}

/// `void inet_sk_state_store(struct sock *sk, int newstate)` (net/ipv4/af_inet.c, 5.10 – 7.3): listen() goes past
/// `tcp_set_state`, which calls this function for everything else.
#[fentry(function = "inet_sk_state_store")]
pub(crate) fn fentry_listen(ctx: FEntryContext) -> i32 {
    let sk: *mut c_void = ctx.arg(0);
    hook::set_state::entering_past::<Typed>(sk as u64, ctx.arg::<i32>(1) as u8, || sock::cookie(sk));
    0
}

/// The same, for kernels whose `tcp_set_state` cannot be probed.
#[fentry(function = "inet_sk_state_store")]
pub(crate) fn fentry_inet_sk_state_store(ctx: FEntryContext) -> i32 {
    entering(&ctx);
    0
}

#[inline(always)]
fn entering(ctx: &FEntryContext) {
    let sk: *mut c_void = ctx.arg(0);
    hook::set_state::entering::<Typed>(sk as u64, ctx.arg::<i32>(1) as u8, || sock::cookie(sk));
}

/// See `hook::life::schedule_begins`.
#[fentry(function = "__inet_twsk_schedule")]
pub(crate) fn fentry_inet_twsk_schedule(ctx: FEntryContext) -> i32 {
    // A bool fills the lowest byte of its register.
    hook::life::schedule_begins(ctx.arg(0), ctx.arg::<u64>(2) as u8);
    0
}

/// See `hook::life::schedule_ends`.
#[fexit(function = "__inet_twsk_schedule")]
pub(crate) fn fexit_inet_twsk_schedule(_ctx: FExitContext) -> i32 {
    hook::life::schedule_ends();
    0
}

/// See `hook::segment::arrives`.
#[fentry(function = "tcp_timewait_state_process")]
pub(crate) fn fentry_tcp_timewait_state_process(ctx: FEntryContext) -> i32 {
    hook::segment::arrives(ctx.arg(0), ctx.arg(1), ctx.arg(2));
    0
}

/// See `hook::life::fires`.
#[fentry(function = "tw_timer_handler")]
pub(crate) fn fentry_tw_timer_handler(ctx: FEntryContext) -> i32 {
    let timer: *const c_void = ctx.arg(0);
    hook::life::fires::<Typed>(timer as u64);
    0
}

/// See `hook::life::killed`.
#[fentry(function = "inet_twsk_kill")]
pub(crate) fn fentry_inet_twsk_kill(ctx: FEntryContext) -> i32 {
    hook::life::killed(ctx.as_ptr(), ctx.arg(0));
    0
}

/// See `hook::overflow::skipped`. Three arguments, then what it returned.
#[fexit(function = "inet_twsk_alloc")]
pub(crate) fn fexit_inet_twsk_alloc(ctx: FExitContext) -> i32 {
    if ctx.arg::<u64>(3) == 0 {
        let (sk, death_row): (*const c_void, *const c_void) = (ctx.arg(0), ctx.arg(1));
        hook::overflow::skipped::<Typed>(sk as u64, death_row as u64);
    }
    0
}

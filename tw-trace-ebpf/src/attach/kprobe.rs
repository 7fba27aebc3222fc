//! Shims of the kprobe backend: functions of the kernel, through breakpoints. Registers out, nothing else.
//!
//! The prototypes are with the shims of the fentry backend. These programs may not ask for a socket's cookie.
#![expect(clippy::needless_pass_by_value, reason = "the attribute macros ask for it")]

use crate::{hook, memory::Probed, sock};
use aya_ebpf::{
    EbpfContext,
    bindings::bpf_user_pt_regs_t,
    macros::{kprobe, kretprobe},
    programs::{ProbeContext, RetProbeContext},
};

#[kprobe(function = "tcp_set_state")]
pub(crate) fn kprobe_tcp_set_state(ctx: ProbeContext) -> u32 {
    entering(&ctx);
    0
}

#[kprobe(function = "inet_sk_set_state")]
pub(crate) fn kprobe_inet_sk_set_state(ctx: ProbeContext) -> u32 {
    entering(&ctx);
    0
}

#[kprobe(function = "inet_sk_state_store")]
pub(crate) fn kprobe_listen(ctx: ProbeContext) -> u32 {
    let sk = arg(&ctx, 0);
    let cookie = || sock::stored_cookie::<Probed>(sk);
    hook::set_state::entering_past::<Probed>(sk, arg(&ctx, 1) as u8, cookie);
    0
}

#[kprobe(function = "inet_sk_state_store")]
pub(crate) fn kprobe_inet_sk_state_store(ctx: ProbeContext) -> u32 {
    entering(&ctx);
    0
}

#[inline(always)]
fn entering(ctx: &ProbeContext) {
    let sk = arg(ctx, 0);
    hook::set_state::entering::<Probed>(sk, arg(ctx, 1) as u8, || sock::stored_cookie::<Probed>(sk));
}

#[kprobe(function = "__inet_twsk_schedule")]
pub(crate) fn kprobe_inet_twsk_schedule(ctx: ProbeContext) -> u32 {
    hook::life::schedule_begins(arg(&ctx, 0), arg(&ctx, 2) as u8);
    0
}

#[kretprobe(function = "__inet_twsk_schedule")]
pub(crate) fn kretprobe_inet_twsk_schedule(_ctx: RetProbeContext) -> u32 {
    hook::life::schedule_ends();
    0
}

#[kprobe(function = "tcp_timewait_state_process")]
pub(crate) fn kprobe_tcp_timewait_state_process(ctx: ProbeContext) -> u32 {
    hook::segment::arrives(arg(&ctx, 0), arg(&ctx, 1), arg(&ctx, 2));
    0
}

#[kprobe(function = "tw_timer_handler")]
pub(crate) fn kprobe_tw_timer_handler(ctx: ProbeContext) -> u32 {
    hook::life::fires::<Probed>(arg(&ctx, 0));
    0
}

#[kprobe(function = "inet_twsk_kill")]
pub(crate) fn kprobe_inet_twsk_kill(ctx: ProbeContext) -> u32 {
    hook::life::killed(ctx.as_ptr(), arg(&ctx, 0));
    0
}

/// See `hook::overflow::begins`.
#[kprobe(function = "inet_twsk_alloc")]
pub(crate) fn kprobe_inet_twsk_alloc(ctx: ProbeContext) -> u32 {
    let call = return_slot(ctx.regs.cast(), Frame::Called);
    hook::overflow::begins(call, arg(&ctx, 0), arg(&ctx, 1));
    0
}

#[kretprobe(function = "inet_twsk_alloc")]
pub(crate) fn kretprobe_inet_twsk_alloc(ctx: RetProbeContext) -> u32 {
    hook::overflow::ends(return_slot(ctx.regs.cast(), Frame::Returned), ctx.ret());
    0
}

#[inline(always)]
fn arg(ctx: &ProbeContext, n: usize) -> u64 {
    ctx.arg(n).unwrap_or(0)
}

/// Whether the probed function has just been called, or has just returned.
enum Frame {
    Called,
    Returned,
}

/// The stack pointer behind the return address of the probed function. On x86-64 the call has pushed that address;
/// elsewhere it is in a register.
#[expect(unexpected_cfgs, reason = "aya-build tells the architecture whose registers these are")]
#[inline(always)]
fn return_slot(regs: *const bpf_user_pt_regs_t, frame: Frame) -> u64 {
    #[cfg(bpf_target_arch = "x86_64")]
    // SAFETY: the context of a kprobe is the registers.
    let (sp, pushed) = (unsafe { (*regs).rsp }, 8);
    #[cfg(bpf_target_arch = "aarch64")]
    // SAFETY: the context of a kprobe is the registers.
    let (sp, pushed) = (unsafe { (*regs).sp }, 0);
    match frame {
        Frame::Called => sp + pushed,
        Frame::Returned => sp,
    }
}

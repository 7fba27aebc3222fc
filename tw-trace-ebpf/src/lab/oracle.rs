//! What the kernel's own `calc_wheel_index` makes of each timer, for `cargo xtask oracle` to hold the model against.
//!
//! `static int calc_wheel_index(unsigned long expires, unsigned long clk, unsigned long *bucket_expiry)`
//! (kernel/time/timer.c, 5.8 – 7.3). Every timer that is put on the wheel passes through it, with interrupts off and
//! the wheel's lock held: on a CPU, no call begins before the last one has ended.
#![expect(clippy::needless_pass_by_value, reason = "the attribute macros ask for it")]

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::bpf_probe_read_kernel,
    macros::{fexit, kprobe, kretprobe, map},
    maps::{PerCpuArray, RingBuf},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use tw_trace_common::lab::{OracleCounter, Placed};

/// User space sets the size.
#[map]
static ORACLE_TIMERS: RingBuf = RingBuf::with_byte_size(4096, 0);

#[map]
static ORACLE_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(OracleCounter::COUNT, 0);

/// The call under way on this CPU, for the kretprobe.
#[map]
static ORACLE_CALLS: PerCpuArray<Call> = PerCpuArray::with_max_entries(1, 0);

#[derive(Clone, Copy)]
#[repr(C)]
struct Call {
    expires: u64,
    clk: u64,
    /// Where the bucket's expiry will be written; zero when no call is under way.
    bucket_expiry: u64,
}

/// Three arguments, then what it returned.
#[fexit(function = "calc_wheel_index")]
fn fexit_calc_wheel_index(ctx: FExitContext) -> i32 {
    let bucket_expiry: *const u64 = ctx.arg(2);
    let call = Call { expires: ctx.arg(0), clk: ctx.arg(1), bucket_expiry: bucket_expiry as u64 };
    returned(call, ctx.arg::<i32>(3) as u32);
    0
}

/// For kernels whose verifier gives no pointer to an integer to fexit programs.
#[kprobe(function = "calc_wheel_index")]
fn kprobe_calc_wheel_index(ctx: ProbeContext) -> u32 {
    let arg = |n| ctx.arg(n).unwrap_or(0);
    let call = Call { expires: arg(0), clk: arg(1), bucket_expiry: arg(2) };
    if exchange(call).bucket_expiry != 0 {
        count(OracleCounter::Unpaired);
    }
    0
}

#[kretprobe(function = "calc_wheel_index")]
fn kretprobe_calc_wheel_index(ctx: RetProbeContext) -> u32 {
    let call = exchange(Call { expires: 0, clk: 0, bucket_expiry: 0 });
    if call.bucket_expiry == 0 {
        count(OracleCounter::Unpaired);
    } else {
        returned(call, ctx.ret());
    }
    0
}

/// Leaves this call on this CPU, and returns the one that was left before.
#[inline(always)]
fn exchange(call: Call) -> Call {
    match ORACLE_CALLS.get_ptr_mut(0) {
        // SAFETY: a map value of this CPU, which stays here: interrupts are off.
        Some(place) => unsafe { core::ptr::replace(place, call) },
        None => Call { expires: 0, clk: 0, bucket_expiry: 0 },
    }
}

#[inline(always)]
fn returned(call: Call, index: u32) {
    count(OracleCounter::Seen);
    // SAFETY: the helper checks the address.
    let Ok(bucket_expiry) = (unsafe { bpf_probe_read_kernel(call.bucket_expiry as *const u64) }) else {
        count(OracleCounter::Unreadable);
        return;
    };
    let Some(mut entry) = ORACLE_TIMERS.reserve::<Placed>(0) else {
        count(OracleCounter::RingFull);
        return;
    };
    entry.write(Placed { expires: call.expires, clk: call.clk, index: u64::from(index), bucket_expiry });
    // A wake-up could put a timer on the wheel.
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
}

#[inline(always)]
fn count(counter: OracleCounter) {
    if let Some(value) = ORACLE_COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a map value of this CPU, and interrupts are off.
        unsafe { *value += 1 }
    }
}

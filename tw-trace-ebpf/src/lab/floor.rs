//! What any tracer of these events pays before it has done anything: the lower bounds of `cargo xtask bench`.
//!
//! `TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)`, and the timer's trace events, as in
//! Linux 5.10 – 7.3. No argument is read.

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::bpf_get_smp_processor_id,
    macros::{btf_tracepoint, map},
    maps::RingBuf,
    programs::BtfTracePointContext,
};
use tw_trace_common::lab::FLOOR_RECORD_WORDS;

/// Two, by CPU, as tw-trace has one for each: CPUs that share one wait for each other. User space sets the size.
#[map]
static FLOOR_RECORDS_0: RingBuf = RingBuf::with_byte_size(4096, 0);
#[map]
static FLOOR_RECORDS_1: RingBuf = RingBuf::with_byte_size(4096, 0);

#[btf_tracepoint(function = "inet_sock_set_state")]
fn floor_set_state(_ctx: BtfTracePointContext) -> i32 {
    0
}

/// A record that is reserved and submitted, not filled: what one costs before anything is written into it.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn floor_set_state_record(_ctx: BtfTracePointContext) -> i32 {
    // SAFETY: it takes no arguments.
    let ring =
        if unsafe { bpf_get_smp_processor_id() } % 2 == 0 { &FLOOR_RECORDS_0 } else { &FLOOR_RECORDS_1 };
    if let Some(entry) = ring.reserve::<[u64; FLOOR_RECORD_WORDS]>(0) {
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    }
    0
}

#[btf_tracepoint(function = "timer_start")]
fn floor_timer_start(_ctx: BtfTracePointContext) -> i32 {
    0
}

#[btf_tracepoint(function = "timer_cancel")]
fn floor_timer_cancel(_ctx: BtfTracePointContext) -> i32 {
    0
}

#[btf_tracepoint(function = "timer_expire_entry")]
fn floor_timer_expire_entry(_ctx: BtfTracePointContext) -> i32 {
    0
}

//! Run by user space through BPF_PROG_TEST_RUN: the clock and the jiffies at one moment.

use aya_ebpf::{
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns},
    macros::socket_filter,
    programs::SkBuffContext,
};
use tw_trace_common::config::Cell;

use crate::maps::set_cell;

#[socket_filter]
pub(crate) fn calibrate(_ctx: SkBuffContext) -> i64 {
    // The jiffies first: whatever comes between makes the distance of the clocks too long, never too short.
    // SAFETY: both take no arguments.
    let (jiffies, ns) = unsafe { (bpf_jiffies64(), bpf_ktime_get_ns()) };
    set_cell(Cell::ClockNs, ns);
    set_cell(Cell::ClockJiffies, jiffies);
    0
}

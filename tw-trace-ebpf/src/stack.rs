//! Who called: the kernel stack at an early end, held against the text ranges that user space resolved.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_get_stack;
use tw_trace_common::config::STACK_FRAMES;

use crate::globals::{CALLERS, load};

/// Frames of the eBPF machinery between the program and the kernel function that fired the trace event.
const SKIP: u64 = 3;

/// The innermost known caller, as a `Caller` number. `Err` when the kernel gives no stack.
#[inline(always)]
pub(crate) fn innermost_caller(ctx: *mut c_void) -> Result<Option<u64>, ()> {
    let mut frames = [0u64; STACK_FRAMES];
    // SAFETY: the buffer is as long as told.
    let bytes = unsafe { bpf_get_stack(ctx, frames.as_mut_ptr().cast(), size_of_val(&frames) as u32, SKIP) };
    if bytes <= 0 {
        return Err(());
    }
    for frame in frames {
        for range in &CALLERS {
            let range = load(range);
            if frame.wrapping_sub(range.start) < range.end - range.start {
                return Ok(Some(range.caller));
            }
        }
    }
    Ok(None)
}

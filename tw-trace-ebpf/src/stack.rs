//! Who called: the kernel stack at an early end, held against the text ranges that user space resolved.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_get_stack;
use tw_trace_common::config::STACK_FRAMES;

use crate::{
    globals::{CALLERS, load},
    maps::Place,
    words,
};

/// None: how many frames of eBPF machinery come first differs by kernel, and looking past them costs little.
const SKIP: u64 = 0;

/// The innermost known caller, as a `Caller` number. `Err` when the kernel gives no stack.
#[inline(always)]
pub(crate) fn innermost_caller(ctx: *mut c_void) -> Result<Option<u64>, ()> {
    const BYTES: u32 = size_of::<[u64; STACK_FRAMES]>() as u32;
    let frames = &mut Place::Timer.scratch().ok_or(())?.frames;
    // A stack shorter than the buffer leaves the rest as it was.
    words::zero(frames);
    // SAFETY: the buffer is as long as told.
    let bytes = unsafe { bpf_get_stack(ctx, frames.as_mut_ptr().cast(), BYTES, SKIP) };
    if bytes <= 0 {
        return Err(());
    }
    for &frame in frames.iter() {
        for range in &CALLERS {
            let range = load(range);
            if frame.wrapping_sub(range.start) < range.end - range.start {
                return Ok(Some(range.caller));
            }
        }
    }
    Ok(None)
}

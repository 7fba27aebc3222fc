//! The iterator over TCP sockets of one network namespace: time-wait sockets that were there before us.

use core::ffi::c_void;

use tw_trace_common::state::TcpState;

use crate::{hook, memory::Probed, sock};

/// `struct bpf_iter__tcp` (net/ipv4/tcp_ipv4.c, 5.9 – 7.3).
#[repr(C)]
pub(crate) struct IterTcp {
    meta: *const c_void,
    /// Null after the last one.
    sk_common: *const c_void,
    uid: u32,
}

/// aya-ebpf has no macro for iterators; the section's name tells the loader what it is.
///
/// # Safety
///
/// Called by the kernel with a `struct bpf_iter__tcp`.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub(crate) unsafe extern "C" fn iter_tcp(ctx: *const IterTcp) -> i32 {
    // SAFETY: the kernel's context.
    if let Some(tw) = unsafe { time_wait(ctx) } {
        hook::seed::listed(tw);
    }
    0
}

/// The socket that the iterator is at, if that is a time-wait socket.
///
/// # Safety
///
/// `ctx` is a `struct bpf_iter__tcp`.
#[inline(always)]
pub(crate) unsafe fn time_wait(ctx: *const IterTcp) -> Option<u64> {
    // SAFETY: as the caller says.
    let sk = unsafe { (*ctx).sk_common } as u64;
    (sk != 0 && sock::state::<Probed>(sk) == TcpState::TimeWait as u8).then_some(sk)
}

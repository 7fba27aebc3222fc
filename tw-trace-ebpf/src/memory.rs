//! Programs reach kernel memory here: by plain loads where the verifier knows the type, else through a helper.

use core::ffi::c_void;

use aya_ebpf::helpers::{
    bpf_probe_read_kernel, generated::bpf_probe_read_kernel as bpf_probe_read_kernel_raw,
};

/// A way to reach kernel memory from a program.
pub(crate) trait Memory {
    /// Reads a member. Of what cannot be read: zeroes.
    fn read<T: Copy>(base: u64, offset: usize) -> T;
    /// Makes the members of a `sock_common` ready to be read by [`Memory::common`].
    fn open(sk: u64, copy: &mut Common) -> bool;
    /// Reads a member of the opened `sock_common`.
    fn common<T: Copy>(sk: u64, copy: &Common, offset: usize) -> T;
}

/// Pointers whose BTF type the verifier knows: arguments of BTF programs and what they point to. Plain loads,
/// a tenth of a helper's price.
pub(crate) struct Typed;

/// Any other pointer: `bpf_probe_read_kernel`.
pub(crate) struct Probed;

impl Memory for Typed {
    #[inline(always)]
    fn read<T: Copy>(base: u64, offset: usize) -> T {
        // SAFETY: the verifier checks the offset against the type; a fault reads as zero.
        unsafe { (base as *const T).byte_add(offset).read_volatile() }
    }

    #[inline(always)]
    fn open(_: u64, _: &mut Common) -> bool {
        true
    }

    #[inline(always)]
    fn common<T: Copy>(sk: u64, _: &Common, offset: usize) -> T {
        Self::read(sk, offset)
    }
}

impl Memory for Probed {
    #[inline(always)]
    fn read<T: Copy>(base: u64, offset: usize) -> T {
        // SAFETY: the helper checks the address and fails on a bad one; all `T` here are integers.
        unsafe {
            bpf_probe_read_kernel((base as *const T).wrapping_byte_add(offset)).unwrap_or(core::mem::zeroed())
        }
    }

    /// One copy instead of a call for every member.
    #[inline(always)]
    fn open(sk: u64, copy: &mut Common) -> bool {
        // SAFETY: the destination is as long as told; the helper checks the source.
        unsafe {
            bpf_probe_read_kernel_raw(copy.0.as_mut_ptr().cast(), COMMON as u32, sk as *const c_void) == 0
        }
    }

    #[inline(always)]
    fn common<T: Copy>(_: u64, copy: &Common, offset: usize) -> T {
        // SAFETY: user space refuses to load when a field's end lies behind COMMON (`fields::COMMON_BYTES`).
        unsafe { copy.0.as_ptr().add(offset).cast::<T>().read_unaligned() }
    }
}

/// Bytes of `sock_common` that are copied at once; user space checks that all fields of it lie within.
const COMMON: usize = tw_trace_common::fields::COMMON_BYTES;

/// A copy of the beginning of a `struct sock_common`.
#[repr(C, align(8))]
pub(crate) struct Common([u8; COMMON]);

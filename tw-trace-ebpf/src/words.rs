//! What the compiler has to be kept from. Copies in words of eight bytes: it makes calls of what it takes for a memcpy or
//! memset, and in eBPF those are loops, byte by byte. And indices that the verifier can follow.

use core::arch::asm;

/// The bits of a number in `MASK`, as a number that the compiler knows nothing of: it compares an index with the bounds in
/// the register that it uses. Else it may compare one copy and use another, from the stack, whose bounds 5.10 and 6.1 do
/// not know.
#[inline(always)]
pub(crate) fn low_bits<const MASK: u64>(number: u64) -> u64 {
    const { assert!(MASK <= i32::MAX as u64) }
    let mut bits = number;
    // SAFETY: arithmetic.
    unsafe { asm!("{bits} &= {mask}", bits = inout(reg) bits, mask = const MASK) }
    bits
}

/// Copies a value that is made of whole, aligned words.
#[inline(always)]
pub(crate) fn copy<T: Copy>(to: &mut T, from: &T) {
    const {
        assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8);
    }
    let (to, from) = ((&raw mut *to).cast::<u64>(), (&raw const *from).cast::<u64>());
    let mut word = 0;
    while word < size_of::<T>() / 8 {
        // SAFETY: within both values, which are aligned to words; volatile, so as not to become a call.
        unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) }
        word += 1;
    }
}

/// Fills a value that is made of whole, aligned words with zeroes.
#[inline(always)]
pub(crate) fn zero<T: Copy>(to: &mut T) {
    const {
        assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8);
    }
    let to = (&raw mut *to).cast::<u64>();
    let mut word = 0;
    while word < size_of::<T>() / 8 {
        // SAFETY: as in `copy`; of all types here, zeroes are a value (integers only).
        unsafe { to.add(word).write_volatile(0) }
        word += 1;
    }
}

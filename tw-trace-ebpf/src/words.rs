//! Copies in words of eight bytes. The compiler makes calls of what it takes for a memcpy or memset, and in eBPF those
//! are loops, byte by byte.

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

//! What the experiments of `tw-trace-ebpf/src/lab` send to `cargo xtask`, which alone loads them.

/// A timer that the kernel put on its wheel: what `calc_wheel_index` was asked, and what it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Placed {
    pub expires: u64,
    pub clk: u64,
    pub index: u64,
    pub bucket_expiry: u64,
}

impl Placed {
    /// A record as it comes out of the ring buffer; nothing when it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (words, []) = bytes.as_chunks::<8>() else { return None };
        let &[expires, clk, index, bucket_expiry] = words else { return None };
        let [expires, clk, index, bucket_expiry] =
            [expires, clk, index, bucket_expiry].map(u64::from_ne_bytes);
        Some(Self { expires, clk, index, bucket_expiry })
    }
}

/// Words of a record of `cargo xtask bench`'s lower bound: 64 bytes, as one of tw-trace's has.
pub const FLOOR_RECORD_WORDS: usize = 8;

/// Per-CPU counters of the oracle: every call that was seen was sent, or is counted here as not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum OracleCounter {
    /// Calls seen to return.
    Seen = 0,
    /// Not sent: the ring buffer was full.
    RingFull = 1,
    /// Not sent: `*bucket_expiry` could not be read.
    Unreadable = 2,
    /// Not sent: of a call, only the beginning or only the end was seen.
    Unpaired = 3,
}

impl OracleCounter {
    pub const COUNT: u32 = 4;
    /// What was not sent.
    pub const LOST: [Self; 3] = [Self::RingFull, Self::Unreadable, Self::Unpaired];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_four_words() {
        let words = [1, 2, 3, 4_u64].map(u64::to_ne_bytes);
        let placed = Placed { expires: 1, clk: 2, index: 3, bucket_expiry: 4 };
        assert_eq!(Placed::decode(words.as_flattened()), Some(placed));
        assert_eq!(Placed::decode(&words.as_flattened()[1..]), None);
        assert_eq!(Placed::decode(&[]), None);
    }
}

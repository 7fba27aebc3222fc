//! Records as they lie in a ring buffer, each with its header before it, read from a copy.

use std::ops::Range;

/// `BPF_RINGBUF_HDR_SZ`.
pub const HEADER: usize = 8;
/// `BPF_RINGBUF_DISCARD_BIT`: to be passed over.
const DISCARD: u32 = 1 << 30;

/// Bytes that a record takes in all, by the first word of its header: its header, its payload, and what is left up to a
/// multiple of eight.
pub const fn whole_length(word: u32) -> usize {
    (payload_length(word) + HEADER).next_multiple_of(8)
}

/// The same of its payload.
const fn payload_length(word: u32) -> usize {
    (word & (DISCARD - 1)) as usize
}

/// Passed over by whoever reads.
const fn is_discarded(word: u32) -> bool {
    word & DISCARD != 0
}

/// Records of one ring in the order they were made, some of them behind us.
#[derive(Default)]
pub struct Chunk {
    pub bytes: Vec<u8>,
    /// The payload that was last looked at.
    payload: Range<usize>,
    /// That is still the next one.
    is_next: bool,
    /// Behind the record that was last looked at.
    end: usize,
}

impl Chunk {
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, payload: 0..0, is_next: false, end: 0 }
    }

    /// The payload of the next record, left where it is; `None` at the end. Of a record that is cut: what is there.
    #[inline]
    pub fn peek(&mut self) -> Option<&[u8]> {
        while !self.is_next {
            let word = u32::from_ne_bytes(*self.bytes.get(self.end..)?.first_chunk()?);
            let begin = (self.end + HEADER).min(self.bytes.len());
            self.payload = begin..(begin + payload_length(word)).min(self.bytes.len());
            self.end += whole_length(word);
            self.is_next = !is_discarded(word);
        }
        self.bytes.get(self.payload.clone())
    }

    /// Passes over the record that [`Chunk::peek`] has just shown.
    pub const fn advance(&mut self) {
        self.is_next = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(flags: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (flags | payload.len() as u32).to_ne_bytes().to_vec();
        bytes.resize(HEADER, 0);
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len().next_multiple_of(8), 0xee);
        bytes
    }

    #[test]
    fn records_come_one_after_the_other_without_those_that_were_discarded() {
        let all = [record(0, b"one"), record(DISCARD, b"no record at all"), record(0, b"twelve bytes")];
        let mut chunk = Chunk::new(all.concat());
        assert_eq!(chunk.peek(), Some(&b"one"[..]));
        assert_eq!(chunk.peek(), Some(&b"one"[..]));
        chunk.advance();
        assert_eq!(chunk.peek(), Some(&b"twelve bytes"[..]));
        chunk.advance();
        assert_eq!(chunk.peek(), None);
        chunk.advance();
        assert_eq!(chunk.peek(), None);
    }

    #[test]
    fn a_record_that_is_cut_is_what_is_left_of_it() {
        let mut bytes = record(0, b"twelve bytes");
        bytes.truncate(HEADER + 5);
        let mut chunk = Chunk::new(bytes);
        assert_eq!(chunk.peek(), Some(&b"twelv"[..]));
        chunk.advance();
        assert_eq!(chunk.peek(), None);
        assert_eq!(Chunk::new(vec![1, 0]).peek(), None);
    }
}

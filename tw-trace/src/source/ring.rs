//! The consumer's end of one BPF ring buffer, emptied in pieces: every publication of the position takes the cache line
//! away from the CPUs that are writing.
//!
//! Layout (kernel/bpf/ringbuf.c, 5.8 – 7.3): one page with the consumer's position, one with the producer's, then
//! the data, mapped twice in a row so that no record is ever cut. A record is a `u32` length with two flag bits, a
//! `u32` for the kernel, and the payload; records begin at multiples of eight.

use std::{
    slice,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use nix::sys::mman::ProtFlags;

use super::chunk::{HEADER, whole_length};
use crate::{
    decode::mono_ns,
    kernel::mapping::{Mapping, page_size},
};

/// `BPF_RINGBUF_BUSY_BIT`: still being written.
const BUSY: u32 = 1 << 31;

pub struct Ring {
    /// Keeps the map alive.
    _map: MapData,
    consumer: Mapping,
    producer: Mapping,
    page: usize,
    /// A power of two.
    pub bytes: usize,
    /// Taken up to here, and published.
    position: u64,
}

/// What comes next in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Nothing,
    /// A record that is still being written; complete ones may stand behind it.
    Unfinished,
    /// A record that was made at this time (CLOCK_MONOTONIC, ns).
    MadeAt(u64),
}

impl Ring {
    /// Takes the consumer's end of a ring buffer of `bytes` bytes. There can be only one.
    pub fn new(map: MapData, bytes: u32) -> Result<Self> {
        let page = page_size()? as usize;
        let bytes = bytes as usize;
        let map_error = "mapping the ring buffer";
        let consumer =
            Mapping::new(&map, 0, page, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE).context(map_error)?;
        let producer = Mapping::new(&map, page, page + 2 * bytes, ProtFlags::PROT_READ).context(map_error)?;
        let position = consumer.word(0).load(Ordering::Acquire);
        Ok(Self { _map: map, consumer, producer, page, bytes, position })
    }

    /// Appends complete records, headers included, to `chunk`, as many as it has room for without growing, and lets the
    /// kernel have their place. Returns how many bytes that were.
    pub fn take(&mut self, chunk: &mut Vec<u8>) -> usize {
        let room = (chunk.capacity() - chunk.len()) as u64;
        let mut end = self.position;
        while let Some(next) = self.complete(end) {
            if next - self.position > room {
                break;
            }
            end = next;
        }
        let taken = (end - self.position) as usize;
        if taken > 0 {
            // SAFETY: records that are complete are not written to before their place is published, below.
            chunk.extend_from_slice(unsafe { self.bytes_at(self.position, taken) });
            self.consumer.word(0).store(end, Ordering::Release);
            self.position = end;
        }
        taken
    }

    /// There is a complete record.
    pub fn has_next(&self) -> bool {
        self.complete(self.position).is_some()
    }

    /// What comes next.
    pub fn next(&self) -> Next {
        let Some(end) = self.complete(self.position) else {
            return if self.is_empty_from(self.position) { Next::Nothing } else { Next::Unfinished };
        };
        // SAFETY: a complete record is not written to before its place is published.
        let record = unsafe { self.bytes_at(self.position, (end - self.position) as usize) };
        // One without a time is refused by whoever decodes it, at once.
        Next::MadeAt(mono_ns(&record[HEADER..]).unwrap_or(0))
    }

    /// Nothing was reserved from `position` on. Pairs with the kernel's smp_store_release of the producer's position
    /// (`__bpf_ringbuf_reserve`).
    fn is_empty_from(&self, position: u64) -> bool {
        position >= self.producer.word(0).load(Ordering::Acquire)
    }

    /// Where the record that begins at `position` ends, if it is complete.
    fn complete(&self, position: u64) -> Option<u64> {
        if self.is_empty_from(position) {
            return None;
        }
        let header = self.data(position).cast::<AtomicU32>();
        // SAFETY: within the first copy of the data; headers are aligned to eight. Pairs with the kernel's xchg of the
        // header (`bpf_ringbuf_commit`).
        let word = unsafe { (*header).load(Ordering::Acquire) };
        (word & BUSY == 0).then(|| position + whole_length(word) as u64)
    }

    /// The bytes from `position` on.
    ///
    /// # Safety
    ///
    /// They are of complete records, and the kernel does not get their place as long as the slice lives.
    unsafe fn bytes_at(&self, position: u64, length: usize) -> &[u8] {
        debug_assert!((HEADER..=self.bytes).contains(&length));
        // SAFETY: within the doubled data, since no more than a ring's bytes can be complete; the rest is the caller's.
        unsafe { slice::from_raw_parts(self.data(position), length) }
    }

    fn data(&self, position: u64) -> *const u8 {
        let offset = self.page + (position as usize & (self.bytes - 1));
        self.producer.start().as_ptr().cast::<u8>().cast_const().wrapping_add(offset)
    }
}

//! The consumer end of the BPF ring buffer, publishing its position once a batch instead of once a record: every
//! publication takes the cache line away from the CPUs that are writing.
//!
//! Layout (kernel/bpf/ringbuf.c, 5.8 – 7.3): one page with the consumer's position, one with the producer's, then
//! the data, mapped twice in a row so that no record is ever cut. A record is a `u32` length with two flag bits, a
//! `u32` for the kernel, and the payload; records begin at multiples of eight.

use std::{
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use nix::{
    sys::mman::ProtFlags,
    unistd::{SysconfVar, sysconf},
};

use crate::kernel::mapping::Mapping;

/// `BPF_RINGBUF_BUSY_BIT`: still being written.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: to be passed over.
const DISCARD: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`.
const HEADER: u64 = 8;
/// Bytes taken after which the position is published in the middle of a batch, so that the kernel can go on.
const PUBLISH: u64 = 256 * 1024;

pub struct Ring {
    /// Keeps the map alive.
    _map: MapData,
    consumer: Mapping,
    producer: Mapping,
    page: usize,
    mask: u64,
    /// Taken up to here; may be ahead of what is published.
    position: u64,
    /// Behind the record that was last looked at.
    end: u64,
    published: u64,
}

/// In bytes.
pub fn page_size() -> Result<u32> {
    sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| u32::try_from(size).ok()).context("page size")
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
        Ok(Self {
            _map: map,
            consumer,
            producer,
            page,
            mask: bytes as u64 - 1,
            position,
            end: position,
            published: position,
        })
    }

    /// The next complete record, left where it is.
    pub fn peek(&mut self) -> Option<&[u8]> {
        loop {
            let next = self.next()?;
            self.end = next.end;
            match next.payload {
                // SAFETY: the kernel does not write there before the position behind it is published, which asks
                // for this borrow to have ended.
                Some(payload) => return Some(unsafe { payload.as_ref() }),
                None => self.position = next.end,
            }
        }
    }

    /// Passes over the record that [`Self::peek`] has just shown.
    pub fn advance(&mut self) {
        self.position = self.end;
        if self.position - self.published >= PUBLISH {
            self.publish();
        }
    }

    /// The record at the position, if it is complete.
    fn next(&self) -> Option<Next> {
        // Pairs with the kernel's smp_store_release of the producer's position (`__bpf_ringbuf_reserve`).
        if self.position >= self.producer.word(0).load(Ordering::Acquire) {
            return None;
        }
        let offset = self.page + (self.position & self.mask) as usize;
        // SAFETY: the mask keeps the offset within the first copy of the data; headers are aligned to eight.
        let header = unsafe { self.producer.start().byte_add(offset) };
        // SAFETY: as above. Pairs with the kernel's xchg of the header (`bpf_ringbuf_commit`).
        let word = unsafe { header.cast::<AtomicU32>().as_ref() }.load(Ordering::Acquire);
        if word & BUSY != 0 {
            return None;
        }
        let len = u64::from(word & !(BUSY | DISCARD));
        let end = self.position + (len + HEADER).next_multiple_of(8);
        if word & DISCARD != 0 {
            return Some(Next { payload: None, end });
        }
        // SAFETY: a complete record lies within the doubled data.
        let payload = unsafe { header.byte_add(HEADER as usize) }.cast::<u8>();
        Some(Next { payload: Some(NonNull::slice_from_raw_parts(payload, len as usize)), end })
    }

    /// Lets the kernel have the room up to the position.
    pub fn publish(&mut self) {
        if self.published != self.position {
            self.consumer.word(0).store(self.position, Ordering::Release);
            self.published = self.position;
        }
    }
}

/// One record, and where the one behind it begins.
struct Next {
    payload: Option<NonNull<[u8]>>,
    end: u64,
}

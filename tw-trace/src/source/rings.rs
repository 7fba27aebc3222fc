//! The ring buffers of all CPUs as one stream, in the order of time.

use std::{mem, sync::Arc};

use anyhow::{Context as _, Result};

use tokio::time::sleep;

use super::{
    chunk::Chunk,
    reader::{BUSY, Reader},
    ring::Ring,
    spool::Spool,
};
use crate::decode::{Record, decode, mono_ns};

/// Rings that are emptied from the moment this is made.
pub struct Rings {
    reader: Reader,
    spool: Arc<Spool>,
    /// By ring: what has been taken out of its queue.
    chunks: Vec<Chunk>,
    /// When the next record of each was made; [`NONE`] where there is none to be taken.
    next_ns: Vec<u64>,
}

const NONE: u64 = u64::MAX;
/// Said of whatever keeps the rings from being read.
const UNREAD: &str = "the ring buffers cannot be read";

impl Rings {
    /// With so many bytes of memory for records that wait.
    pub fn new(rings: Vec<Ring>, spool: usize) -> Self {
        let spool = Arc::new(Spool::new(rings.len(), spool));
        Self {
            chunks: rings.iter().map(|_| Chunk::default()).collect(),
            next_ns: vec![NONE; rings.len()],
            reader: Reader::begin(rings, Arc::clone(&spool)),
            spool,
        }
    }

    /// Resolves when records have come since the last time. Safe to cancel.
    pub async fn come(&self) {
        if self.reader.wakes() {
            self.spool.told().await;
        } else {
            sleep(BUSY).await;
        }
    }

    /// Records wait for [`Rings::drain`], more than a busy machine explains.
    pub fn are_behind(&self) -> bool {
        self.spool.is_behind()
    }

    /// The programs are detached: from now on [`Rings::drain`] hands over what has not settled too.
    pub fn end(&mut self) -> Result<()> {
        self.reader.end().context(UNREAD)
    }

    /// Has the rings emptied, where no thread does.
    pub fn empty(&mut self) -> Result<()> {
        self.reader.look().context(UNREAD)
    }

    /// Hands over at most `most` records of those that have settled; returns how many. What `each` fails on counts as
    /// taken.
    pub fn drain(&mut self, most: usize, mut each: impl FnMut(&Record) -> Result<()>) -> Result<usize> {
        self.empty()?;
        // Before the queues are looked into: they then have all of before.
        let until_ns = self.spool.through_ns();
        for index in 0..self.chunks.len() {
            self.look(index, until_ns);
        }
        let mut taken = 0;
        while taken < most {
            let earliest = self.next_ns.iter().enumerate().min_by_key(|(_, ns)| **ns);
            let Some((index, _)) = earliest.filter(|(_, ns)| **ns != NONE) else { break };
            let chunk = &mut self.chunks[index];
            let outcome = chunk.peek().map_or(Ok(()), |bytes| {
                each(&decode(bytes).context("the kernel side sent a record that cannot be read")?)
            });
            chunk.advance();
            taken += 1;
            outcome?;
            self.look(index, until_ns);
        }
        Ok(taken)
    }

    /// Sees when the ring's next record was made, if that is before `until_ns`. What is no record is handed over at once,
    /// to be refused.
    fn look(&mut self, index: usize, until_ns: u64) {
        let chunk = &mut self.chunks[index];
        self.next_ns[index] = loop {
            match chunk.peek().map(mono_ns) {
                Some(Some(ns)) if ns >= until_ns => break NONE,
                Some(ns) => break ns.unwrap_or(0),
                None => match self.spool.next(index, mem::take(&mut chunk.bytes)) {
                    Some(bytes) => *chunk = Chunk::new(bytes),
                    None => break NONE,
                },
            }
        };
    }
}

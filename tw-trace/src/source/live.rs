//! Records of the running kernel: the ring buffers, drained on a timer, because a wake-up per record would cost
//! the traced connection more than all the rest.

use std::{mem, time::Duration};

use anyhow::Result;

use super::rings::Rings;
use crate::{decode::Record, kernel::clock::kernel_ns};

/// Records taken before the caller gets to look at its other duties.
const BATCH: usize = 16 * 1024;

/// While records come, the ring is drained this often: at 600,000 records a second, every 4 MB.
const BUSY: Duration = Duration::from_millis(50);
/// A quiet machine is woken this often.
const IDLE: Duration = Duration::from_millis(100);

/// Records kept in memory before anybody can take them, at the most: the rings have room for some more.
const KEPT: usize = 128 * 1024;

/// In nanoseconds. Records of that long ago have come to their places in the ring buffers.
const SETTLED: u64 = 1_000_000;

/// Records made before this (CLOCK_MONOTONIC) can be taken in the order of time.
pub fn settled_ns() -> Result<u64> {
    Ok(kernel_ns()?.saturating_sub(SETTLED))
}

pub struct Live {
    rings: Rings,
    /// Taken from the rings, and not handed over yet.
    kept: Vec<Record>,
    pause: Duration,
}

impl Live {
    pub const fn new(rings: Rings) -> Self {
        Self { rings, kept: Vec::new(), pause: BUSY }
    }

    /// Makes room in the rings.
    pub fn keep(&mut self) -> Result<()> {
        let Self { rings, kept, .. } = self;
        let room = KEPT - kept.len().min(KEPT);
        rings.drain(room.min(BATCH), settled_ns()?, |record| {
            kept.push(*record);
            Ok(())
        })?;
        Ok(())
    }

    /// Waits until it is time to look again. Safe to cancel.
    pub async fn ready(&self) {
        tokio::time::sleep(self.pause).await;
    }

    /// Hands over what was made before `until_ns`, a batch at the most; returns how many. A full batch means: come
    /// again at once.
    pub fn drain(&mut self, until_ns: u64, mut each: impl FnMut(&Record) -> Result<()>) -> Result<usize> {
        if !self.kept.is_empty() {
            let kept = mem::take(&mut self.kept);
            kept.iter().try_for_each(&mut each)?;
            return Ok(kept.len());
        }
        let taken = self.rings.drain(BATCH, until_ns, each)?;
        self.pause = if taken == BATCH {
            Duration::ZERO
        } else if taken > 0 {
            BUSY
        } else {
            IDLE
        };
        Ok(taken)
    }
}

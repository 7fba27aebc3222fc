//! Records of the running kernel: the ring buffer, drained on a timer, because a wake-up per record would cost
//! the traced connection more than all the rest.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::ring::Ring;
use crate::decode::{Record, decode};

/// Records taken before the caller gets to look at its other duties.
const BATCH: usize = 16 * 1024;

/// While records come, the ring is drained this often: at 600,000 records a second, every 4 MB of it.
const BUSY: Duration = Duration::from_millis(50);
/// A quiet machine is woken this often.
const IDLE: Duration = Duration::from_millis(100);

pub struct Live {
    ring: Ring,
    pause: Duration,
}

impl Live {
    pub const fn new(ring: Ring) -> Self {
        Self { ring, pause: BUSY }
    }

    /// Waits until it is time to look again. Safe to cancel.
    pub async fn ready(&self) {
        tokio::time::sleep(self.pause).await;
    }

    /// Hands over what has come, a batch at the most; returns how many. A full batch means: come again at once.
    pub fn drain(&mut self, mut each: impl FnMut(&Record) -> Result<()>) -> Result<usize> {
        let taken = self.ring.drain(BATCH, |bytes| {
            each(&decode(bytes).context("the kernel side sent a record that cannot be read")?)
        })?;
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

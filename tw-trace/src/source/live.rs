//! Records of the running kernel: the ring buffers, drained on a timer, because a wake-up per record would cost
//! the traced connection more than all the rest.

use std::time::Duration;

use anyhow::Result;

use super::rings::Rings;
use crate::decode::Record;

/// Records taken before the caller gets to look at its other duties.
const BATCH: usize = 16 * 1024;

/// While records come, the ring is drained this often: at 600,000 records a second, every 4 MB.
const BUSY: Duration = Duration::from_millis(50);
/// A quiet machine is woken this often.
const IDLE: Duration = Duration::from_millis(100);

pub struct Live {
    rings: Rings,
    pause: Duration,
}

impl Live {
    pub const fn new(rings: Rings) -> Self {
        Self { rings, pause: BUSY }
    }

    /// Waits until it is time to look again. Safe to cancel.
    pub async fn ready(&self) {
        tokio::time::sleep(self.pause).await;
    }

    /// Hands over what was made before `until_ns`, a batch at the most; returns how many. A full batch means: come
    /// again at once.
    pub fn drain(&mut self, until_ns: u64, each: impl FnMut(&Record) -> Result<()>) -> Result<usize> {
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

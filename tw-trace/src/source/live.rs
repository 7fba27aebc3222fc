//! Records of the running kernel, as they come.

use std::time::Duration;

use anyhow::Result;

use super::{priority::Priority, rings::Rings};
use crate::decode::Record;

/// Records taken before the caller gets to look at its other duties.
const BATCH: usize = 16 * 1024;
/// The caller has other duties, whether records come or not.
const LONGEST: Duration = Duration::from_millis(100);

pub struct Live {
    rings: Rings,
    /// The last batch was full.
    has_more: bool,
    /// Of the thread that hands the records on.
    priority: Priority,
}

impl Live {
    pub fn new(rings: Rings) -> Self {
        Self { rings, has_more: true, priority: Priority::of_this_thread() }
    }

    /// Waits until it is time to look again. Safe to cancel.
    pub async fn ready(&self) {
        if !self.has_more {
            // Not to have heard of records in time is as good.
            let _ = tokio::time::timeout(LONGEST, self.rings.come()).await;
        }
    }

    /// Makes room in the rings, where no thread does.
    pub fn keep(&mut self) -> Result<()> {
        self.rings.empty()
    }

    /// Hands over what has settled, a batch at the most; returns how many. A full batch means: come again at once.
    pub fn drain(&mut self, each: impl FnMut(&Record) -> Result<()>) -> Result<usize> {
        let taken = self.rings.drain(BATCH, each)?;
        self.has_more = taken == BATCH;
        // To be late for long is to lose records. Whoever shares the CPUs fairly with a full load is late for ever.
        if self.rings.are_behind() {
            self.priority.raise();
        } else if !self.has_more {
            self.priority.give_back();
        }
        Ok(taken)
    }

    /// The programs are detached: from now on [`Live::drain`] hands over everything, until it returns zero.
    pub fn end(&mut self) -> Result<()> {
        self.rings.end()
    }
}

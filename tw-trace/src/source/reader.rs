//! Empties the ring buffers into the spool, on a thread that comes before whatever else the machine is busy with: it only
//! copies, so that a ring does not wait for a reader that waits for the CPU, or for the disk.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::sync_channel,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Result, anyhow};

use super::{
    priority,
    ring::{Next, Ring},
    spool::Spool,
};
use crate::kernel::clock::kernel_ns;

/// While records come, the rings are emptied this often: at 600,000 records a second, of every 4 MB.
pub const BUSY: Duration = Duration::from_millis(50);
/// A quiet machine is woken this often.
const IDLE: Duration = Duration::from_millis(100);
/// In nanoseconds: after that, a record that is still being written does not hold up the others any more.
const LONGEST_WRITE: u64 = 1_000_000_000;
/// In nanoseconds. Records of that long ago have come to their places in the ring buffers.
const SETTLED: u64 = 1_000_000;

pub struct Reader(Who);

/// Who empties the rings.
enum Who {
    Thread {
        handle: JoinHandle<Result<Emptying>>,
        is_over: Arc<AtomicBool>,
    },
    /// Whoever hands the records on, each time before it does.
    Caller(Emptying, Writers),
    /// Nobody any more: it failed.
    Nobody,
}

/// Programs that write to the rings.
#[derive(Clone, Copy)]
enum Writers {
    Attached,
    Gone,
}

struct Emptying {
    rings: Vec<Ring>,
    /// By ring: all of its records that were made before (CLOCK_MONOTONIC, ns) have been complete.
    complete_ns: Vec<u64>,
    spool: Arc<Spool>,
}

impl Reader {
    /// Begins at once; without a thread where the system gives none (`pids.max`, RLIMIT_NPROC).
    pub fn begin(rings: Vec<Ring>, spool: Arc<Spool>) -> Self {
        // A thread that is not started takes its closure with it: the rings wait here until it runs.
        let (hand_over, handed) = sync_channel(1);
        let is_over = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&is_over);
        let work = move || match handed.recv() {
            Ok(emptying) => on_thread(emptying, &theirs),
            Err(_) => Err(anyhow!("it was given no ring buffers")),
        };
        let emptying = Emptying { complete_ns: vec![0; rings.len()], rings, spool };
        if emptying.rings.is_empty() {
            return Self(Who::Caller(emptying, Writers::Attached));
        }
        Self(match thread::Builder::new().name("reader".into()).spawn(work) {
            Ok(handle) => match hand_over.send(emptying) {
                Ok(()) => Who::Thread { handle, is_over },
                Err(back) => Who::Caller(back.0, Writers::Attached),
            },
            Err(_) => Who::Caller(emptying, Writers::Attached),
        })
    }

    /// Whether a thread empties the rings, and wakes whoever hands the records on.
    pub const fn wakes(&self) -> bool {
        matches!(self.0, Who::Thread { .. })
    }

    /// Has the rings emptied where no thread does; an error where one ended that should not have.
    pub fn look(&mut self) -> Result<()> {
        match &mut self.0 {
            Who::Caller(emptying, Writers::Attached) => emptying.pass(settled()?).map(drop),
            Who::Caller(emptying, Writers::Gone) => emptying.pass(u64::MAX).map(drop),
            Who::Thread { handle, .. } if handle.is_finished() => self.end(),
            Who::Thread { .. } => Ok(()),
            Who::Nobody => Err(anyhow!("nobody reads them any more")),
        }
    }

    /// Takes the rings back from the thread: nothing is written to them any more.
    pub fn end(&mut self) -> Result<()> {
        let emptying = match mem::replace(&mut self.0, Who::Nobody) {
            Who::Thread { handle, is_over } => {
                is_over.store(true, Ordering::Relaxed);
                handle.thread().unpark();
                handle.join().map_err(|_| anyhow!("the thread that reads them panicked"))??
            }
            Who::Caller(emptying, _) => emptying,
            Who::Nobody => return Err(anyhow!("nobody reads them any more")),
        };
        self.0 = Who::Caller(emptying, Writers::Gone);
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Nobody is there any more who could be told.
        let _ = self.end();
    }
}

impl Emptying {
    /// Moves what is in the rings into the spool, and says there up to which time it has all records: `until_ns`, unless it
    /// is full or a record is not finished. Returns how many bytes were moved.
    fn pass(&mut self, until_ns: u64) -> Result<usize> {
        let (mut moved, mut through_ns) = (0, until_ns);
        for (index, (ring, complete_ns)) in self.rings.iter_mut().zip(&mut self.complete_ns).enumerate() {
            moved += self.spool.fill(index, ring);
            *complete_ns = match ring.next() {
                Next::Nothing => until_ns,
                // The spool is full, or records come as fast. What the queue has is older and is handed on: then there is
                // room again.
                Next::MadeAt(ns) => ns.min(until_ns),
                // Its program may have been interrupted for long, but not for ever.
                Next::Unfinished => (*complete_ns).max(until_ns.saturating_sub(LONGEST_WRITE)),
            };
            through_ns = through_ns.min(*complete_ns);
        }
        self.spool.filled_through(through_ns);
        Ok(moved)
    }
}

/// Records that were made before this (CLOCK_MONOTONIC, ns) have come to their places in the rings. One that stands still
/// for a moment must not be overtaken by those in other rings.
fn settled() -> Result<u64> {
    Ok(kernel_ns()?.saturating_sub(SETTLED))
}

fn on_thread(mut emptying: Emptying, is_over: &AtomicBool) -> Result<Emptying> {
    priority::come_first();
    let mut was_moved = false;
    while !is_over.load(Ordering::Relaxed) {
        let is_moved = emptying.pass(settled()?)? > 0;
        // Once more than records are moved: the last of them may not have settled by then.
        if is_moved || was_moved {
            emptying.spool.tell();
        }
        was_moved = is_moved;
        thread::park_timeout(if is_moved { BUSY } else { IDLE });
    }
    Ok(emptying)
}

//! Records that have left the ring buffers and wait to be handed on: a bounded queue for each ring, between the thread that
//! empties the rings and the one that tells what is in them.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::ring::Ring;

/// Bytes that are allocated at once.
const CHUNK: usize = 256 << 10;
/// Chunks that are kept for the next records.
const SPARE: usize = 8;
/// A queue has room for so many times what its ring holds. The rings alone hold what half a second of connections makes at
/// full speed; whoever tells the records may be kept waiting longer, by a busy machine or by a disk.
const RINGFULS: usize = 4;

#[derive(Debug, Default)]
pub struct Spool {
    state: Mutex<State>,
    /// Something came.
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By ring.
    queues: Vec<Queue>,
    /// All records that were made before (CLOCK_MONOTONIC) are in the queues or were taken out of them.
    through_ns: u64,
    spare: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Queue {
    chunks: VecDeque<Vec<u8>>,
    /// Chunks at most.
    room: usize,
}

impl Spool {
    pub fn new(rings: &[Ring]) -> Self {
        let room = |ring: &Ring| (RINGFULS * ring.bytes / CHUNK).max(4);
        let queues = rings.iter().map(|ring| Queue { chunks: VecDeque::new(), room: room(ring) }).collect();
        Self { state: Mutex::new(State { queues, ..State::default() }), news: Notify::new() }
    }

    /// Moves what ring number `index` holds into its queue, as far as there is room; returns how many bytes.
    pub fn fill(&self, index: usize, ring: &mut Ring) -> usize {
        let mut moved = 0;
        // A ring that others fill as fast as it is emptied does not keep us from the next one.
        while moved < ring.bytes {
            // Not locked for longer: whoever hands records on takes a chunk meanwhile.
            let mut state = self.lock();
            let State { queues, spare, .. } = &mut *state;
            let queue = &mut queues[index];
            let taken = queue.chunks.back_mut().map_or(0, |last| ring.take(last));
            moved += taken;
            if taken > 0 {
                continue;
            }
            if queue.chunks.len() == queue.room || ring.next_ns().is_none() {
                break;
            }
            queue.chunks.push_back(spare.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK)));
        }
        moved
    }

    /// All records that were made before `ns` are here now.
    pub fn filled_through(&self, ns: u64) {
        self.lock().through_ns = ns;
    }

    /// There is something to be handed on.
    pub fn tell(&self) {
        self.news.notify_one();
    }

    /// Resolves when something has come since the last time. Safe to cancel.
    pub async fn told(&self) {
        self.news.notified().await;
    }

    /// See [`State::through_ns`].
    pub fn through_ns(&self) -> u64 {
        self.lock().through_ns
    }

    /// A queue is half full: whoever hands the records on is late.
    pub fn is_behind(&self) -> bool {
        self.lock().queues.iter().any(|queue| 2 * queue.chunks.len() >= queue.room)
    }

    /// The next chunk of a queue, in exchange for one that is done with.
    pub fn next(&self, index: usize, mut done: Vec<u8>) -> Option<Vec<u8>> {
        let mut state = self.lock();
        let next = state.queues[index].chunks.pop_front();
        if done.capacity() > 0 && state.spare.len() < SPARE {
            done.clear();
            state.spare.push(done);
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic leaves whole records in the queues.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

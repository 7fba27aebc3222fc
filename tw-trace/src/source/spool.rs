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
/// Chunks that a queue may have however many the others have: a ring that cannot be emptied holds up the records of all.
const ALWAYS: usize = 2;

#[derive(Debug, Default)]
pub struct Spool {
    state: Mutex<State>,
    /// Wakes whoever hands the records on.
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By ring.
    queues: Vec<VecDeque<Vec<u8>>>,
    /// In all of them together.
    chunks: usize,
    /// Chunks at most, but for [`ALWAYS`].
    room: usize,
    /// See [`Spool::through_ns`].
    through_ns: u64,
    spare: Vec<Vec<u8>>,
}

impl Spool {
    /// For the records of so many rings, in so many bytes and 512 KiB a ring.
    pub fn new(rings: usize, bytes: usize) -> Self {
        let queues = (0..rings).map(|_| VecDeque::new()).collect();
        Self {
            state: Mutex::new(State { queues, room: bytes / CHUNK, ..State::default() }),
            news: Notify::new(),
        }
    }

    /// Moves what ring number `index` holds into its queue, as far as there is room; returns how many bytes.
    pub fn fill(&self, index: usize, ring: &mut Ring) -> usize {
        let mut moved = 0;
        // A ring that others fill as fast as it is emptied does not keep us from the next one.
        while moved < ring.bytes {
            // Not locked for longer: whoever hands records on takes a chunk meanwhile.
            let mut state = self.lock();
            let State { queues, chunks, room, spare, .. } = &mut *state;
            let queue = &mut queues[index];
            let taken = queue.back_mut().map_or(0, |last| ring.take(last));
            moved += taken;
            if taken > 0 {
                continue;
            }
            let is_full = *chunks >= *room && queue.len() >= ALWAYS;
            if is_full || !ring.has_next() {
                break;
            }
            *chunks += 1;
            queue.push_back(spare.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK)));
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

    /// All records that were made before this (CLOCK_MONOTONIC, ns) are in the queues or were taken out of them.
    pub fn through_ns(&self) -> u64 {
        self.lock().through_ns
    }

    /// It is a quarter full: whoever hands the records on is late.
    pub fn is_behind(&self) -> bool {
        let state = self.lock();
        4 * state.chunks >= state.room.max(4 * ALWAYS * state.queues.len())
    }

    /// The next chunk of a queue, in exchange for one that is done with.
    pub fn next(&self, index: usize, mut done: Vec<u8>) -> Option<Vec<u8>> {
        let mut state = self.lock();
        let next = state.queues[index].pop_front();
        state.chunks -= usize::from(next.is_some());
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

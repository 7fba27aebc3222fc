//! Work on a thread of its own where one may be started, else on the caller's: limits on threads are no failure.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::{Builder, Scope, ScopedJoinHandle},
};

use anyhow::{Result, anyhow};

/// Work under way, or its result.
pub enum Beside<'scope, T> {
    Thread(ScopedJoinHandle<'scope, Option<T>>),
    Done(Option<T>),
}

impl<T> Beside<'_, T> {
    /// Waits for the result; an error if the work panicked.
    pub fn join(self, name: &str) -> Result<T> {
        let result = match self {
            Self::Thread(thread) => thread.join().unwrap_or(None),
            Self::Done(result) => result,
        };
        result.ok_or_else(|| anyhow!("the thread {name} panicked"))
    }
}

/// Starts `work` on a thread of this name. Where the system gives none (`pids.max`, RLIMIT_NPROC, no memory), the work is
/// done before this returns.
pub fn beside<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Beside<'scope, T> {
    // A thread that is not started takes its closure with it: the work stays here until somebody takes it.
    let once = Arc::new(Mutex::new(Some(work)));
    let theirs = Arc::clone(&once);
    match Builder::new().name(name.into()).spawn_scoped(scope, move || take(&theirs).map(|work| work())) {
        Ok(thread) => Beside::Thread(thread),
        Err(_) => Beside::Done(take(&once).map(|work| work())),
    }
}

fn take<W>(once: &Mutex<Option<W>>) -> Option<W> {
    once.lock().unwrap_or_else(PoisonError::into_inner).take()
}

//! Stop requests (SIGINT, SIGTERM, SIGHUP, --duration), noticed even while a write blocks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::{
    runtime::{Builder, Handle},
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};

/// Shared between who asks and who is to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    asked: AtomicBool,
    notify: Notify,
}

impl Stop {
    /// Whether anybody asked.
    pub fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }

    /// Resolves when anybody asks. Safe to cancel.
    pub async fn asked(&self) {
        let notified = self.0.notify.notified();
        if !self.is_asked() {
            notified.await;
        }
    }

    fn ask(&self) {
        self.0.asked.store(true, Ordering::Relaxed);
        self.0.notify.notify_waiters();
    }
}

/// Hears signals and the clock on a thread of its own, so that neither a write that blocks nor a busy machine keeps
/// them out, and the thread that drains the ring needs nobody else to be woken.
pub struct Listener {
    runtime: Handle,
    pub stop: Stop,
}

impl Listener {
    /// Listens for signals from now on. The second one ends the process at once; the kernel then takes the
    /// programs off with our file descriptors.
    pub fn new() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
        let handle = runtime.handle().clone();
        let stop = Stop::default();
        let guard = handle.enter();
        let interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let hangup = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
        drop(guard);
        let heard = stop.clone();
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || runtime.block_on(listen([interrupt, terminate, hangup], heard)))
            .context(
                "no thread could be started to listen for signals (pids.max of the cgroup, `ulimit -u`), and without it \
                 a run could not be stopped; allow one more",
            )?;
        Ok(Self { runtime: handle, stop })
    }

    /// Asks to stop after this long.
    pub fn stop_after(&self, duration: Duration) {
        let stop = self.stop.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep(duration).await;
            stop.ask();
        });
    }
}

/// Signals this close together are one wish: timeout(1) sends its to the process and then to the process group.
const ONE_WISH: Duration = Duration::from_millis(500);

async fn listen(mut signals: [Signal; 3], stop: Stop) {
    any(&mut signals).await;
    let first = Instant::now();
    stop.ask();
    loop {
        any(&mut signals).await;
        if first.elapsed() >= ONE_WISH {
            std::process::exit(1);
        }
    }
}

async fn any([interrupt, terminate, hangup]: &mut [Signal; 3]) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_time_is_heard_while_the_main_thread_blocks() {
        let listener = Listener::new().unwrap();
        listener.stop_after(Duration::from_millis(1));
        thread::sleep(Duration::from_millis(200));
        assert!(listener.stop.is_asked());
    }
}

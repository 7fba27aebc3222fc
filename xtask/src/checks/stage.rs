//! Where a check takes place: a network namespace, and a tracer for each backend that watches it.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

use crate::backend::Backend;
use crate::netns;
use crate::suite::tracer::Tracer;
use crate::traffic::tcp::{Pair, listen};

/// The program that is judged, and the ways it can watch.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) tw_trace: PathBuf,
    pub(super) backends: Vec<Backend>,
}

/// What a check came to under one backend.
pub(super) struct Verdict {
    pub(super) backend: Backend,
    pub(super) judged: Result<()>,
}

/// What a tracer told.
pub(super) struct Told {
    events: Vec<Value>,
    /// So many of these were told before it was asked to end.
    live: usize,
    pub(super) summary: Value,
}

/// A tracer drains its rings every tenth of a second; on an emulated CPU it may be late.
const LAST_RECORDS: Duration = Duration::from_secs(1);

impl Stage {
    /// As [`Stage::traced_in`], in a new network namespace.
    pub(super) fn traced<T>(
        &self,
        enter: impl Fn(&mut Command) -> Result<()> + Send + Sync,
        traffic: impl FnOnce() -> Result<T> + Send,
        judge: impl Fn(&Told, &T) -> Result<()> + Send,
    ) -> Result<Vec<Verdict>> {
        netns::in_new_netns("tw-check", |inode| self.traced_in(inode, enter, traffic, judge))
    }

    /// Starts `tw-trace trace --json --netns INODE` for each backend, as `enter` prepares it, has `traffic` make what
    /// is watched, and has `judge` look at what each told: of the traffic it knows what `traffic` returned.
    pub(super) fn traced_in<T>(
        &self,
        inode: u32,
        enter: impl Fn(&mut Command) -> Result<()> + Sync,
        traffic: impl FnOnce() -> Result<T>,
        judge: impl Fn(&Told, &T) -> Result<()>,
    ) -> Result<Vec<Verdict>> {
        let tracers = self.start(inode, &enter)?;
        let facts = traffic().context("the traffic")?;
        thread::sleep(LAST_RECORDS);
        let judge_one = |(backend, tracer): (Backend, Result<Tracer>)| {
            let judged = tracer
                .and_then(Told::of)
                .and_then(|told| judge(&told, &facts).with_context(|| told.account()));
            Verdict { backend, judged }
        };
        Ok(tracers.into_iter().map(judge_one).collect())
    }

    /// All at once: each takes seconds on an emulated CPU. One that does not start is its backend's failure.
    fn start(
        &self,
        inode: u32,
        enter: &(impl Fn(&mut Command) -> Result<()> + Sync),
    ) -> Result<Vec<(Backend, Result<Tracer>)>> {
        let spawn = |backend: Backend| {
            let mut command = Command::new(&self.tw_trace);
            command.args(["trace", "--json", "--backend", backend.name(), "--netns", &inode.to_string()]);
            enter(&mut command)?;
            Tracer::spawn(command)
        };
        // The thread that spawned may have no other children after what `enter` did to it, not even threads.
        let start = |backend: Backend| Tracer::attached(on_a_thread(|| spawn(backend))?, |_| true);
        thread::scope(|scope| {
            let started: Vec<_> =
                self.backends.iter().map(|&backend| (backend, scope.spawn(move || start(backend)))).collect();
            let join = |(backend, handle): (Backend, thread::ScopedJoinHandle<'_, Result<Tracer>>)| {
                Ok((backend, handle.join().map_err(|_| anyhow!("starting a tracer panicked"))?))
            };
            started.into_iter().map(join).collect()
        })
    }
}

/// So many connections whose clients have closed; returned are their servers, which have not.
pub(super) fn half_closed(count: usize) -> Result<Vec<TcpStream>> {
    let listener = listen(([127, 0, 0, 1], 8_000).into())?;
    let to = listener.local_addr()?;
    (0..count).map(|_| Ok(Pair::open(&listener, to, None)?.server)).collect()
}

/// Runs `work` on a thread that ends with it.
pub(super) fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| scope.spawn(work).join().map_err(|_| anyhow!("a thread panicked"))?)
}

impl Told {
    fn of(mut tracer: Tracer) -> Result<Self> {
        let live = tracer.told_by_now();
        let trace = tracer.stop()?;
        Ok(Self { events: trace.events()?, live, summary: trace.summary })
    }

    /// What was told while it ran.
    pub(super) fn live(&self) -> &[Value] {
        &self.events[..self.live.min(self.events.len())]
    }

    /// The events of this kind.
    pub(super) fn all(&self, kind: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["event"] == kind).collect()
    }

    /// Fails unless nothing was lost and all sums agree.
    pub(super) fn balanced(&self) -> Result<()> {
        let summary = &self.summary;
        ensure!(summary["lost"] == 0, "lost {}: {}", summary["lost"], summary["lost_by"]);
        ensure!(summary["balanced"] == true, "not balanced: {}", summary["unbalanced"]);
        Ok(())
    }

    /// The sums that explain a failure.
    fn account(&self) -> String {
        let of = |key: &str| format!("{key} {}", self.summary[key]);
        ["sockets", "exited", "lost_by", "unbalanced", "notes"].map(of).join(", ")
    }
}

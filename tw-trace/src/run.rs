//! One live run: attach, seed, hand records to a sink until it is over, detach, add up.

use std::{
    collections::BTreeMap,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    time::{ClockId, clock_gettime},
};
use tokio::signal::unix::{SignalKind, signal};
use tw_trace_common::counter::{COUNT, Counter, CounterKind};

use crate::{
    audit::{Scope, audit},
    collector::{Collector, KernelTotals},
    header::Header,
    kernel::{
        load::{Loaded, Settings, load},
        netns::{Sysctls, run_in},
        prepare::Resolved,
        snapshots::Snapshots,
    },
    sink::{Lost, Sink},
    source::live::Live,
    summary::Summary,
};

/// How often losses are looked at, and told.
const LOSS_CHECK: Duration = Duration::from_secs(1);
/// Programs that were running when they were detached have ended by then.
const LAST_PROGRAMS: Duration = Duration::from_millis(10);

/// When a run is over, apart from a signal or a closed pipe.
#[derive(Clone, Copy, Debug, Default)]
pub struct Until {
    pub duration: Option<Duration>,
    pub count: Option<u64>,
}

/// What the run is about, for the header and the audit.
pub struct About {
    /// Filters as given.
    pub filters: Vec<String>,
    pub scope: Scope,
    /// The one namespace that the run is about, if it is.
    pub netns: Option<u32>,
    /// Whether the summary is wanted.
    pub summary: Tell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    Yes,
    No,
}

/// Runs to the end and returns the summary; everything is detached by then.
pub fn run(
    kernel: &Resolved,
    settings: &Settings,
    about: About,
    until: Until,
    make_sink: impl FnOnce() -> Box<dyn Sink>,
) -> Result<Summary> {
    let mut snapshots = Snapshots::new(about.netns);
    let mut loaded = load(&kernel.plan, &kernel.btf, settings)?;
    let ring = loaded.take_ring()?;
    let started = now_ns(ClockId::CLOCK_MONOTONIC)?;
    let before = snapshots.read();
    loaded.attach(&kernel.plan)?;
    seed(&mut loaded, kernel, &snapshots)?;
    let after = snapshots.read();
    let header = header(kernel, &about, &snapshots, started)?;
    snapshots.started(before, after);
    snapshots.release();

    let mut session = Session {
        loaded,
        source: Live::new(ring),
        collector: Collector::new(settings.tick.ns),
        sink: make_sink(),
        told_losses: [0; COUNT as usize],
        told: 0,
        most: until.count.unwrap_or(u64::MAX),
    };
    session.sink.header(&header)?;
    session.sink.flush()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(session.follow(until))?;

    snapshots.reopen();
    let before = snapshots.read();
    session.loaded.detach()?;
    let ended = now_ns(ClockId::CLOCK_MONOTONIC)?;
    let after = snapshots.read();
    snapshots.ended(before, after);
    std::thread::sleep(LAST_PROGRAMS);
    session.finish(snapshots, kernel, &about, [started, ended])
}

fn seed(loaded: &mut Loaded, kernel: &Resolved, snapshots: &Snapshots) -> Result<()> {
    for netns in snapshots.namespaces() {
        loaded.seed(&kernel.plan, netns)?;
    }
    Ok(())
}

fn now_ns(clock: ClockId) -> Result<u64> {
    let now = clock_gettime(clock)?;
    Ok(u64::try_from(now.tv_sec()).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap_or(0))
}

fn header(kernel: &Resolved, about: &About, snapshots: &Snapshots, started: u64) -> Result<Header> {
    let realtime = now_ns(ClockId::CLOCK_REALTIME)?;
    let mono = now_ns(ClockId::CLOCK_MONOTONIC)?;
    // A namespace of its own has settings of its own; without one, those of the namespace we are in.
    let watched = about.netns.and_then(|inode| snapshots.namespaces().find(|netns| netns.inode == inode));
    let sysctls = match watched {
        Some(netns) => run_in(netns, Sysctls::read)?,
        None => Sysctls::read(),
    };
    Ok(Header {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: nix::sys::utsname::uname()?.release().to_string_lossy().into_owned(),
        hz: kernel.tick.hz,
        tick_ns: kernel.tick.ns,
        backend: kernel.plan.backend.name().to_owned(),
        programs: kernel.plan.programs.iter().map(|row| row.name.to_owned()).collect(),
        blind_spots: kernel.plan.blind_spots.clone(),
        sysctls: sysctls
            .0
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<BTreeMap<_, _>>(),
        filters: about.filters.clone(),
        realtime_offset_ns: i64::try_from(realtime).unwrap_or(0) - i64::try_from(mono).unwrap_or(0),
        started_mono_ns: started,
    })
}

/// A run that has been attached.
struct Session {
    loaded: Loaded,
    source: Live,
    collector: Collector,
    sink: Box<dyn Sink>,
    told_losses: [u64; COUNT as usize],
    /// Records told, and how many are to be told at most; all are taken note of.
    told: u64,
    most: u64,
}

impl Session {
    /// Hands on records until a limit is reached, a signal comes, or nobody reads the output any more.
    async fn follow(&mut self, until: Until) -> Result<()> {
        let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
        let deadline = until.duration.map(|duration| Instant::now() + duration);
        let mut next_check = Instant::now() + LOSS_CHECK;
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                () = self.source.ready() => {}
            }
            self.drain()?;
            if self.told_enough() || deadline.is_some_and(|at| Instant::now() >= at) {
                return Ok(());
            }
            if Instant::now() >= next_check {
                next_check = Instant::now() + LOSS_CHECK;
                self.tell_losses()?;
                if !is_read() {
                    return Ok(());
                }
            }
        }
    }

    /// Hands on what has come; returns how many records that were.
    fn drain(&mut self) -> Result<usize> {
        let Self { source, collector, sink, told, most, .. } = self;
        let taken = source.drain(|record| {
            collector.observe(record);
            if told < most {
                *told += 1;
                sink.record(record)?;
            }
            Ok(())
        })?;
        self.sink.flush()?;
        Ok(taken)
    }

    const fn told_enough(&self) -> bool {
        self.told >= self.most
    }

    /// One `lost` event per cause that lost something since the last look.
    fn tell_losses(&mut self) -> Result<()> {
        let counters = self.loaded.counters()?;
        let mono_ns = now_ns(ClockId::CLOCK_MONOTONIC)?;
        for &counter in Counter::ALL {
            let is_loss = matches!(counter.kind(), CounterKind::LostRecord | CounterKind::LostSocket);
            let lost = counters[counter as usize].saturating_sub(self.told_losses[counter as usize]);
            if is_loss && lost > 0 {
                self.sink.lost(&Lost { count: lost, place: counter.name().to_owned(), mono_ns })?;
            }
        }
        self.told_losses = counters;
        Ok(self.sink.flush()?)
    }

    /// Takes what is still in the ring, then adds up.
    fn finish(
        mut self,
        snapshots: Snapshots,
        kernel: &Resolved,
        about: &About,
        [from_mono_ns, to_mono_ns]: [u64; 2],
    ) -> Result<Summary> {
        while self.drain()? > 0 {}
        self.tell_losses()?;
        let totals = KernelTotals {
            ledgers: self.loaded.ledgers()?,
            counters: self.told_losses,
            live: self.loaded.live()?,
            filtered: about.scope != Scope::Whole,
            from_mono_ns,
            to_mono_ns,
        };
        let audit = audit(&snapshots.finish(), &totals, kernel.counted_at, &about.scope);
        let summary = self.collector.finish(&totals, audit);
        if about.summary == Tell::Yes {
            self.sink.summary(&summary)?;
            self.sink.flush()?;
        }
        Ok(summary)
    }
}

/// Whether standard output still has a reader: a closed pipe shows only when somebody looks.
fn is_read() -> bool {
    let stdout = std::io::stdout();
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(_) => !fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR)),
        Err(_) => true,
    }
}

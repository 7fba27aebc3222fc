//! One live run: attach, seed, hand records to a sink until it is over, detach, add up.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::time::ClockId;
use tokio::runtime::Builder;
use tw_trace_common::counter::{COUNT, Counter, CounterKind};

#[cfg(feature = "debug-log")]
use crate::kernel::debug_log::DebugLog;
use crate::{
    audit::{Scope, audit},
    collector::{Collector, KernelTotals, Watched},
    header::Header,
    kernel::{
        clock::now_ns,
        load::{Loaded, Settings},
        netns::{Sysctls, run_in},
        plan::Serves,
        prepare::{Attempts, Resolved},
        snapshots::{NetnsId, Snapshots},
    },
    output::is_read,
    sink::{Lost, Sink},
    source::live::Live,
    start::{Started, Steps},
    stop::{Listener, Stop},
    summary::Summary,
    warning::Warning,
};

/// How often losses are looked at, and told.
const LOSS_CHECK: Duration = Duration::from_secs(1);
/// In nanoseconds. Records of that long ago have come to their places in the ring buffers.
const SETTLED: u64 = 1_000_000;
/// An uncertainty of the lateness that is worth a word.
const CLOCK_ERROR_TOLD: u64 = 50_000;
/// Programs that were running when they were detached have ended by then.
const LAST_PROGRAMS: Duration = Duration::from_millis(10);

/// What the run is about.
pub struct About {
    /// Filters as given.
    pub filters: Vec<String>,
    /// What the audit can compare.
    pub scope: Scope,
    /// The one namespace that the run is about, if it is about one.
    pub netns: Option<NetnsId>,
    pub duration: Option<Duration>,
    /// Records to be told at most.
    pub count: Option<u64>,
    /// Whether the summary is wanted.
    pub summary: Tell,
    /// Whether to say on stderr what is being done, and what the kernel side logs.
    pub steps: Tell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    Yes,
    No,
}

/// Runs to the end and returns the summary; everything is detached by then. `warn` gets what is ill at once.
pub fn run(
    attempts: &mut Attempts,
    settings: impl Fn(&Resolved) -> Settings,
    about: &About,
    warn: impl Fn(&Warning),
    make_sink: impl FnOnce(Stop) -> Result<Box<dyn Sink>>,
) -> Result<Summary> {
    let first = attempts.next()?;
    let listener = Listener::new()?;
    let mut sink = make_sink(listener.stop.clone())?;
    let mut snapshots = Snapshots::new(about.netns);
    let steps = Steps::new(about.steps);
    let Started { kernel, settings, mut loaded, rings, unlearned, before, started_ns } =
        Started::best(attempts, first, settings, &snapshots, &steps, &warn)?;
    let unseeded = seed(&mut loaded, &kernel, &snapshots);
    steps.done("sockets of before seeded");
    let after = snapshots.read();
    let mut header = header(&kernel, about, &snapshots, started_ns)?;
    snapshots.started(before, after);
    for why in unseeded {
        warn(&Warning::SeedIncomplete { why: why.clone() });
        header.blind_spots.push(why);
    }
    if about.netns.is_none() {
        header.blind_spots.extend(untold(&snapshots));
    }
    if loaded.clock_error_ns > CLOCK_ERROR_TOLD {
        header.blind_spots.push(format!(
            "the machine was too busy to find the phase of its jiffies: lateness may be told up to {} µs short",
            loaded.clock_error_ns / 1_000
        ));
    }
    header.blind_spots.extend(unlearned.map(|why| {
        format!(
            "how long TIME_WAIT is was not learned beforehand ({why:#}): sockets of before the start, and those that \
             left FIN_WAIT2 unseen, are not dated until a timer tells it"
        )
    }));
    tell(sink.header(&header).and_then(|()| sink.flush()))?;
    if let Some(duration) = about.duration {
        listener.stop_after(duration);
    }

    let mut session = Session {
        #[cfg(feature = "debug-log")]
        log: match about.steps {
            Tell::Yes => Some(DebugLog::of(&mut loaded)?),
            Tell::No => None,
        },
        loaded,
        source: Live::new(rings),
        collector: Collector::new(settings.tick.ns),
        sink,
        told_losses: [0; COUNT as usize],
        told: 0,
        most: about.count.unwrap_or(u64::MAX),
        watched: Watched {
            overflows: kernel.plan.program(Serves::Overflows).is_some(),
            ..Watched::streaming(settings.stream)
        },
    };
    let runtime = Builder::new_current_thread().enable_time().build().context("starting the runtime")?;
    runtime.block_on(session.follow(&listener.stop))?;

    snapshots.reopen();
    let before = snapshots.read();
    session.loaded.detach()?;
    let ended = now_ns(ClockId::CLOCK_MONOTONIC)?;
    let after = snapshots.read();
    snapshots.ended(before, after);
    std::thread::sleep(LAST_PROGRAMS);
    session.finish(snapshots, &kernel, about, [started_ns, ended])
}

/// Seeds every namespace that can be entered; returns which could not, and why.
fn seed(loaded: &mut Loaded, kernel: &Resolved, snapshots: &Snapshots) -> Vec<String> {
    let mut unseeded = Vec::new();
    for netns in snapshots.namespaces() {
        match loaded.seed(&kernel.plan, netns) {
            Ok(()) => {}
            Err(error) => unseeded.push(format!("{error:#}")),
        }
    }
    unseeded
}

fn untold(snapshots: &Snapshots) -> Option<String> {
    let untold = snapshots.untold;
    (untold > 0).then(|| {
        format!(
            "{untold} processes hide their network namespace: sockets that were in TIME_WAIT there before the start \
             are not told, unless another process shows it"
        )
    })
}

/// What the sink did, as an error that says where it happened.
fn tell(result: std::io::Result<()>) -> Result<()> {
    result.context("writing to standard output")
}

fn header(kernel: &Resolved, about: &About, snapshots: &Snapshots, started: u64) -> Result<Header> {
    let realtime = now_ns(ClockId::CLOCK_REALTIME)?;
    let mono = now_ns(ClockId::CLOCK_MONOTONIC)?;
    // A namespace of its own has settings of its own; without one, those of the namespace we are in.
    let watched = about.netns.and_then(|_| snapshots.namespaces().next());
    let sysctls = match watched {
        // Not being allowed in is told with the seeding.
        Some(netns) => run_in(netns, Sysctls::read).unwrap_or_default(),
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
        replaced: kernel.plan.replaced.clone(),
        sysctls: sysctls.0.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        filters: about.filters.clone(),
        realtime_offset_ns: i64::try_from(realtime).unwrap_or(0) - i64::try_from(mono).unwrap_or(0),
        started_mono_ns: started,
    })
}

/// A run that has been attached.
struct Session {
    #[cfg(feature = "debug-log")]
    log: Option<DebugLog>,
    loaded: Loaded,
    source: Live,
    collector: Collector,
    sink: Box<dyn Sink>,
    told_losses: [u64; COUNT as usize],
    /// Records told, and how many are to be told at most; all are taken note of.
    told: u64,
    most: u64,
    watched: Watched,
}

impl Session {
    /// Hands on records until somebody asks to stop, enough is told, or nobody reads the output any more.
    async fn follow(&mut self, stop: &Stop) -> Result<()> {
        let mut next_check = Instant::now() + LOSS_CHECK;
        while !stop.is_asked() && self.told < self.most {
            tokio::select! {
                () = stop.asked() => {}
                () = self.source.ready() => {}
            }
            self.drain(now_ns(ClockId::CLOCK_MONOTONIC)?.saturating_sub(SETTLED))?;
            if Instant::now() >= next_check {
                next_check = Instant::now() + LOSS_CHECK;
                self.tell_losses()?;
                if !is_read() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Hands on what was made before `until_ns`; returns how many records that were.
    fn drain(&mut self, until_ns: u64) -> Result<usize> {
        let Self { source, collector, sink, told, most, .. } = self;
        let taken = source.drain(until_ns, |record| {
            collector.observe(record);
            if told < most {
                *told += 1;
                tell(sink.record(record))?;
            }
            Ok(())
        })?;
        tell(self.sink.flush())?;
        #[cfg(feature = "debug-log")]
        if let Some(log) = &mut self.log {
            log.flush();
        }
        Ok(taken)
    }

    /// One `lost` event per cause that lost something since the last look.
    fn tell_losses(&mut self) -> Result<()> {
        let counters = self.loaded.counters()?;
        let mono_ns = now_ns(ClockId::CLOCK_MONOTONIC)?;
        for &counter in Counter::ALL {
            let is_loss = matches!(counter.kind(), CounterKind::LostRecord | CounterKind::LostSocket);
            let lost = counters[counter as usize].saturating_sub(self.told_losses[counter as usize]);
            if is_loss && lost > 0 {
                tell(self.sink.lost(&Lost { count: lost, place: counter.name().to_owned(), mono_ns }))?;
            }
        }
        self.told_losses = counters;
        tell(self.sink.flush())
    }

    /// Takes what is still in the ring, then adds up.
    fn finish(
        mut self,
        snapshots: Snapshots,
        kernel: &Resolved,
        about: &About,
        [from_mono_ns, to_mono_ns]: [u64; 2],
    ) -> Result<Summary> {
        while self.drain(u64::MAX)? > 0 {}
        self.tell_losses()?;
        let totals = KernelTotals {
            ledgers: self.loaded.ledgers()?,
            counters: self.told_losses,
            live: self.loaded.live()?,
            filtered: about.scope != Scope::Whole,
            watched: self.watched,
            uncovered: kernel.plan.uncovered.clone(),
            from_mono_ns,
            to_mono_ns,
        };
        let audit = audit(&snapshots.finish(), &totals, kernel.counted_at, &about.scope);
        let summary = self.collector.finish(&totals, audit);
        if about.summary == Tell::Yes {
            tell(self.sink.summary(&summary).and_then(|()| self.sink.flush()))?;
        }
        Ok(summary)
    }
}

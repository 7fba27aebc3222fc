//! One live run: attach, seed, hand records to a sink until it is over, detach, add up.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::runtime::Builder;
use tw_trace_common::counter::{COUNT, Counter, CounterKind};

#[cfg(feature = "debug-log")]
use crate::kernel::debug_log::DebugLog;
use crate::{
    audit::{Scope, audit},
    begin::{About, Begun, Ending, Tell},
    collector::{Collector, KernelTotals, Watched},
    kernel::{
        clock::kernel_ns,
        load::Loaded,
        plan::Serves,
        prepare::{Attempts, Resolved},
        settings::Settings,
        snapshots::Snapshots,
    },
    output::is_read,
    reseed::Reseeding,
    sink::{Lost, Sink},
    source::live::Live,
    stop::Stop,
    summary::Summary,
    wall_clock::WallClock,
    warning::Warning,
};

/// How often losses are looked at, and told.
const LOSS_CHECK: Duration = Duration::from_secs(1);

/// Runs to the end and returns the summary; everything is detached by then. `warn` is called when something goes wrong that
/// does not end the run.
pub fn run(
    attempts: &mut Attempts,
    settings: impl Fn(&Resolved) -> Settings,
    about: &About,
    warn: impl Fn(&Warning),
    make_sink: impl FnOnce(Stop) -> Result<Box<dyn Sink>>,
) -> Result<Summary> {
    let listener = &about.steps.listener;
    let mut sink = make_sink(listener.stop.clone())?;
    let Begun { kernel, settings, loaded, source, header, mut ending, started_ns } =
        Begun::new(attempts, settings, about, warn)?;
    tell(sink.header(&header).and_then(|()| sink.flush()))?;
    if let Some(duration) = about.duration {
        listener.stop_after(duration);
    }

    let mut session = Session {
        #[cfg(feature = "debug-log")]
        log: None,
        loaded,
        records: Records {
            source,
            collector: Collector::new(settings.tick.ns),
            sink,
            told: 0,
            most: about.count.unwrap_or(u64::MAX),
        },
        told_losses: [0; COUNT as usize],
        reseeding: Reseeding::new(settings.sizes.time_waits),
        wall_clock: WallClock::new(header.realtime_offset_ns),
        watched: Watched {
            overflows: kernel.plan.program(Serves::Overflows).is_some(),
            ..Watched::streaming(settings.stream)
        },
    };
    #[cfg(feature = "debug-log")]
    if about.steps.are_told() {
        session.log = Some(DebugLog::of(&mut session.loaded)?);
    }
    let runtime = Builder::new_current_thread().enable_time().build().context("starting the runtime")?;
    runtime.block_on(session.follow(&listener.stop, &kernel, &mut ending))?;

    let Session { loaded, records, .. } = &mut session;
    let mut duties = |loaded: &mut Loaded| records.drain(loaded).map(|_| ());
    let (snapshots, ended) = ending.end(loaded, &kernel, &mut duties)?;
    session.finish(snapshots, &kernel, about, [started_ns, ended])
}

/// What the sink did, as an error that says where it happened.
fn tell(result: std::io::Result<()>) -> Result<()> {
    result.context("writing to standard output")
}

/// A run that has been attached.
struct Session {
    #[cfg(feature = "debug-log")]
    log: Option<DebugLog>,
    loaded: Loaded,
    records: Records,
    told_losses: [u64; COUNT as usize],
    reseeding: Reseeding,
    wall_clock: WallClock,
    watched: Watched,
}

/// Records on their way from the kernel to the output.
struct Records {
    source: Live,
    collector: Collector,
    sink: Box<dyn Sink>,
    /// Records told, and how many are to be told at most; all are taken note of.
    told: u64,
    most: u64,
}

impl Records {
    /// Hands on what there is; returns how many records that were.
    fn drain(&mut self, loaded: &mut Loaded) -> Result<usize> {
        let Self { source, collector, sink, told, most } = self;
        // Before the records: one of them may be the last that is heard of a cgroup.
        sink.cgroups_seen(&loaded.take_cgroups()?);
        let taken = source.drain(|record| {
            collector.observe(record);
            if told < most {
                *told += 1;
                tell(sink.record(record))?;
            }
            Ok(())
        })?;
        tell(sink.flush())?;
        Ok(taken)
    }

    fn are_enough(&self) -> bool {
        self.told >= self.most
    }
}

impl Session {
    /// Hands on records until somebody asks to stop, enough is told, or nobody reads the output any more.
    async fn follow(&mut self, stop: &Stop, kernel: &Resolved, ending: &mut Ending) -> Result<()> {
        let mut next_check = Instant::now() + LOSS_CHECK;
        while !stop.is_asked() && !self.records.are_enough() {
            tokio::select! {
                () = stop.asked() => {}
                () = self.records.source.ready() => {}
            }
            self.drain()?;
            if Instant::now() >= next_check {
                next_check = Instant::now() + LOSS_CHECK;
                if let Some(offset_ns) = self.wall_clock.look()? {
                    self.records.sink.wall_clock(offset_ns);
                }
                self.tell_losses()?;
                let Self { told_losses, loaded, reseeding, records, .. } = self;
                loaded.relieve_ledgers(|net| ending.watches(net))?;
                let mut duties = |loaded: &mut Loaded| records.drain(loaded).map(|_| ());
                reseeding.look(told_losses, loaded, kernel, ending, stop, &mut duties)?;
                if !is_read() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Hands on what there is; returns how many records that were.
    fn drain(&mut self) -> Result<usize> {
        let taken = self.records.drain(&mut self.loaded)?;
        #[cfg(feature = "debug-log")]
        if let Some(log) = &mut self.log {
            log.flush();
        }
        Ok(taken)
    }

    /// One `lost` event per cause that lost something since the last look.
    fn tell_losses(&mut self) -> Result<()> {
        let counters = self.loaded.counters()?;
        let mono_ns = kernel_ns()?;
        for &counter in Counter::ALL {
            let is_loss = matches!(counter.kind(), CounterKind::LostRecord | CounterKind::LostSocket);
            let lost = counters[counter as usize].saturating_sub(self.told_losses[counter as usize]);
            if is_loss && lost > 0 {
                tell(self.records.sink.lost(&Lost {
                    count: lost,
                    place: counter.name().to_owned(),
                    mono_ns,
                }))?;
            }
        }
        self.told_losses = counters;
        tell(self.records.sink.flush())
    }

    /// Takes what is still in the ring, then adds up.
    fn finish(
        mut self,
        snapshots: Snapshots,
        kernel: &Resolved,
        about: &About,
        [from_mono_ns, to_mono_ns]: [u64; 2],
    ) -> Result<Summary> {
        self.records.source.end()?;
        while self.drain()? > 0 {}
        self.tell_losses()?;
        let totals = KernelTotals {
            ledgers: self.loaded.ledgers()?,
            gone: self.loaded.gone_ledgers(),
            counters: self.told_losses,
            live: self.loaded.live()?,
            filtered: about.scope != Scope::Whole,
            watched: self.watched,
            uncovered: kernel.plan.uncovered.clone(),
            from_mono_ns,
            to_mono_ns,
        };
        let audit = audit(&snapshots.finish(), &totals, kernel.counted_at, &about.scope);
        let Records { collector, mut sink, .. } = self.records;
        let summary = collector.finish(&totals, audit);
        if about.summary == Tell::Yes {
            tell(sink.summary(&summary).and_then(|()| sink.flush()))?;
        }
        Ok(summary)
    }
}

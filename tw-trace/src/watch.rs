//! One live run of a counting view: attach, seed, show what the kernel side counted at every interval, detach, add
//! up. Nothing is streamed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::runtime::Builder;
use tw_trace_common::counter::COUNT;

use crate::{
    audit::{CountedAt, Namespace, Scope},
    begin::{About, Begun},
    header::Header,
    kernel::{
        clock::kernel_ns,
        load::Loaded,
        prepare::{Attempts, Resolved},
        settings::Settings,
    },
    output::{Output, is_read},
    reseed::Reseeding,
    stop::Stop,
    wall_clock::WallClock,
    warning::Warning,
};

/// How often it is looked whether anybody still reads.
const LOOK: Duration = Duration::from_secs(1);
/// How often cgroups are taken note of, for a view that names them: some are gone soon.
const CGROUPS: Duration = Duration::from_millis(100);

/// For a view that shows everything at the end.
pub const FOREVER: Duration = Duration::from_secs(100 * 31_557_600);

/// What is shown of what the kernel side counts.
pub trait View {
    fn header(&mut self, header: &Header) -> Result<()>;

    /// Whether the kernel side follows sockets for it: those that found no room are then looked for again.
    fn follows_sockets(&self) -> bool {
        true
    }

    /// Cgroups are among what it shows: it is then given those that the kernel side saw.
    fn names_cgroups(&self) -> bool {
        false
    }

    /// See [`CgroupNames::seen`](crate::sink::CgroupNames::seen).
    fn cgroups_seen(&mut self, _ids: &[u64]) {}

    /// Hands on what is streamed beside the counting.
    fn drain(&mut self) -> Result<()> {
        Ok(())
    }

    /// At least once a second, whatever the interval.
    fn look(&mut self, _loaded: &Loaded) -> Result<()> {
        Ok(())
    }

    /// See [`Sink::wall_clock`](crate::sink::Sink::wall_clock).
    fn wall_clock(&mut self, _realtime_offset_ns: i64) {}

    /// Shows what was counted since the last time.
    fn interval(&mut self, loaded: &Loaded, now_ns: u64) -> Result<()>;

    /// Everything is detached: shows what the whole run came to.
    fn finish(&mut self, loaded: &Loaded, end: &End) -> Result<()>;
}

/// The end of a run.
pub struct End {
    /// With the kernel's own counters, for an audit.
    pub namespaces: Vec<Namespace>,
    pub counted_at: CountedAt,
    pub scope: Scope,
    /// By `Counter`.
    pub counters: [u64; COUNT as usize],
    /// What nobody watched and nothing counted.
    pub uncovered: Vec<String>,
    /// CLOCK_MONOTONIC when the first program was attached, and when the last one was detached.
    pub from_ns: u64,
    pub to_ns: u64,
}

/// When to show, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub interval: Duration,
    /// Intervals at most.
    pub count: Option<u64>,
}

/// Runs to the end; everything is detached by then. `warn` is called when something goes wrong that does not end the run.
pub fn watch(
    attempts: &mut Attempts,
    settings: impl Fn(&Resolved) -> Settings,
    about: &About,
    pace: Pace,
    warn: impl Fn(&Warning),
    make_view: impl FnOnce(&mut Begun, Output) -> Result<Box<dyn View>>,
) -> Result<()> {
    let listener = &about.steps.listener;
    let out = Output::stdout(listener.stop.clone()).context("standard output cannot be written")?;
    let mut begun = Begun::new(attempts, settings, about, warn)?;
    let mut view = make_view(&mut begun, out)?;
    view.header(&begun.header)?;
    if let Some(duration) = about.duration {
        listener.stop_after(duration);
    }
    let runtime = Builder::new_current_thread().enable_time().build().context("starting the runtime")?;
    runtime.block_on(show(view.as_mut(), &mut begun, pace, &listener.stop))?;
    let Begun { kernel, mut loaded, ending, started_ns, .. } = begun;
    let (snapshots, to_ns) =
        ending.end(&mut loaded, &kernel, &mut |loaded| while_visiting(view.as_mut(), loaded))?;
    let end = End {
        namespaces: snapshots.finish(),
        counted_at: kernel.counted_at,
        scope: about.scope.clone(),
        counters: loaded.counters()?,
        uncovered: kernel.plan.uncovered,
        from_ns: started_ns,
        to_ns,
    };
    if view.names_cgroups() {
        view.cgroups_seen(&loaded.take_cgroups()?);
    }
    view.finish(&loaded, &end)
}

/// What is not to wait until all namespaces are visited.
fn while_visiting(view: &mut dyn View, loaded: &mut Loaded) -> Result<()> {
    if view.names_cgroups() {
        view.cgroups_seen(&loaded.take_cgroups()?);
    }
    view.drain()
}

/// Shows until somebody asks to stop, enough is shown, or nobody reads any more. Intervals do not drift.
async fn show(view: &mut dyn View, begun: &mut Begun, pace: Pace, stop: &Stop) -> Result<()> {
    let Begun { loaded, kernel, settings, ending, header, .. } = begun;
    let mut wall_clock = WallClock::new(header.realtime_offset_ns);
    let mut reseeding = Reseeding::new(settings.sizes.time_waits);
    let mut shown = 0;
    let mut due = Instant::now() + pace.interval;
    let pause = if view.names_cgroups() { CGROUPS } else { LOOK };
    let mut next_look = Instant::now() + LOOK;
    while !stop.is_asked() && pace.count.is_none_or(|most| shown < most) {
        tokio::select! {
            () = stop.asked() => break,
            () = tokio::time::sleep(due.min(next_look).saturating_duration_since(Instant::now()).min(pause)) => {}
        }
        if view.names_cgroups() {
            view.cgroups_seen(&loaded.take_cgroups()?);
        }
        if Instant::now() < due.min(next_look) {
            continue;
        }
        next_look = Instant::now() + LOOK;
        if !is_read() {
            break;
        }
        if let Some(offset_ns) = wall_clock.look()? {
            view.wall_clock(offset_ns);
        }
        view.look(loaded)?;
        if view.follows_sockets() {
            loaded.relieve_ledgers(|net| ending.watches(net))?;
            loaded.relieve_keys(settings.sizes.keys)?;
            let counters = loaded.counters()?;
            let mut duties = |loaded: &mut Loaded| while_visiting(view, loaded);
            reseeding.look(&counters, loaded, kernel, ending, stop, &mut duties)?;
        }
        if Instant::now() >= due {
            view.interval(loaded, kernel_ns()?)?;
            shown += 1;
            due += pace.interval;
        }
    }
    Ok(())
}

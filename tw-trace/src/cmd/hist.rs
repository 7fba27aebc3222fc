//! `tw-trace hist`: distributions that are counted in the kernel.

use anyhow::Result;
use tw_trace_common::{event::Kind, histogram::Series, keys::By};

use super::setup;
use crate::{
    begin::{About, Begun, Tell},
    cli::{ByArg, DEFAULT_SOCKETS, HistArgs},
    exit::Usage,
    filter,
    kernel::{
        cgroup::CgroupPaths,
        memory::Memory,
        prepare::Resolved,
        settings::{Log, Settings, Sizes},
        sizing,
        snapshots::NetnsId,
    },
    output::Output,
    sink::json::Json,
    source::{live::Live, rings::Rings},
    warning::Warning,
    watch::{FOREVER, Pace, watch},
};
use asked::Asked;
use json::JsonFormat;
use text::TextFormat;
use view::{Format, HistView, Show};

mod asked;
mod counted;
mod json;
mod key;
#[cfg(test)]
mod tests;
mod text;
mod view;

/// Ring buffers for the events that a test asks for.
const EVENTS_RING: u32 = 32 << 20;

pub fn hist(args: &HistArgs, verbose: u8) -> Result<()> {
    let steps = setup::steps(verbose)?;
    let asked = Asked::new(args).map_err(Usage)?;
    let netns = setup::netns(&args.filters)?;
    let filter = filter::resolve(&args.filters, netns, setup::cgroup(&args.filters)?).map_err(Usage)?;
    let mut attempts = setup::attempts(&args.attach, asked.wants(), &steps)?;
    let (sizes, by) = (sizes(args, &asked, netns), by(args.by));
    let settings = |kernel: &Resolved| Settings {
        stream: if args.with_events {
            asked.kinds().iter().fold(0, |mask, kind| mask | kind.bit())
        } else {
            0
        },
        mode: asked.mode(),
        by,
        sizes,
        ..Settings::new(kernel, filter.filter, if verbose == 0 { Log::Reason } else { Log::Whole })
    };
    let about = About {
        scope: setup::scope(&filter),
        filters: filter.given.clone(),
        netns,
        duration: args.attach.duration,
        count: None,
        summary: if args.quiet { Tell::No } else { Tell::Yes },
        steps,
    };
    let pace = Pace { interval: args.interval.unwrap_or(FOREVER), count: args.count };
    let show = Show { asked, reasons: filter.filter.reasons, most: args.count, summary: about.summary };
    watch(&mut attempts, settings, &about, pace, Warning::tell, |begun, out| {
        let events = args.with_events.then(|| take_source(begun));
        let told = if args.interval.is_none() && !args.quiet { Tell::Yes } else { Tell::No };
        Ok(Box::new(HistView::new(format(args, out), show, begun.settings.tick.ns, events, told)))
    })
}

fn sizes(args: &HistArgs, asked: &Asked, netns: Option<NetnsId>) -> Sizes {
    let least = Sizes::LEAST;
    let memory = Memory::read();
    let events_ring = sizing::ring(EVENTS_RING, memory);
    let time_waits = || args.max_time_waits.unwrap_or_else(|| setup::time_waits(netns, memory));
    let sockets = || args.max_sockets.unwrap_or_else(|| sizing::sockets(DEFAULT_SOCKETS, memory));
    Sizes {
        ring: if args.with_events { events_ring } else { least.ring },
        spool: if args.with_events { sizing::spool(events_ring, memory) } else { least.spool },
        time_waits: if asked.time_waits { time_waits() } else { least.time_waits },
        sockets: if asked.follows_sockets() { sockets().next_power_of_two() } else { least.sockets },
        histograms: Series::COUNT,
        keys: if by(args.by).is_some() { args.keys } else { least.keys },
        ..least
    }
}

/// What the kernel side counts by: reasons have distributions anyway.
const fn by(arg: Option<ByArg>) -> Option<By> {
    match arg {
        None | Some(ByArg::Reason) => None,
        Some(ByArg::Process) => Some(By::Process),
        Some(ByArg::Cgroup) => Some(By::Cgroup),
        Some(ByArg::Remote) => Some(By::Remote),
        Some(ByArg::RemoteAddress) => Some(By::RemoteAddress),
        Some(ByArg::LocalPort) => Some(By::LocalPort),
    }
}

fn take_source(begun: &mut Begun) -> Live {
    std::mem::replace(&mut begun.source, Live::new(Rings::new(Vec::new(), 0)))
}

fn format(args: &HistArgs, out: Output) -> Box<dyn Format> {
    if args.json {
        Box::new(JsonFormat::new(Json::new(out, CgroupPaths::new())))
    } else {
        Box::new(TextFormat::new(out, setup::style(), CgroupPaths::new()))
    }
}

/// The kinds of record that the distributions of time-wait sockets, and of states, are made of.
const ENDS: Kind = Kind::TwExit;
const STATES: Kind = Kind::State;

//! `tw-trace trace`: one line per event, as it happens, and a summary that adds up.

use anyhow::{Context as _, Result};

use super::setup;
use crate::{
    begin::{About, Tell},
    cli::{DEFAULT_RING, DEFAULT_SOCKETS, TraceArgs},
    exit::Usage,
    filter,
    kernel::{
        cgroup::CgroupPaths,
        memory::Memory,
        plan::Wants,
        prepare::Resolved,
        settings::{Log, Settings, Sizes},
        sizing,
    },
    output::Output,
    run::run,
    sink::{CgroupNames, Sink, json::Json, text::Text},
    stop::Stop,
    warning::Warning,
};

pub fn trace(args: &TraceArgs, verbose: u8) -> Result<()> {
    let steps = setup::steps(verbose)?;
    let kinds = filter::kinds(&args.events, &args.filters).map_err(Usage)?;
    let netns = setup::netns(&args.filters)?;
    let filter = filter::resolve(&args.filters, netns, setup::cgroup(&args.filters)?).map_err(Usage)?;

    let mut attempts = setup::attempts(&args.run.attach, Wants::kinds(&kinds), &steps)?;
    let memory = Memory::read();
    let max_time_waits = args.sizes.max_time_waits.unwrap_or_else(|| setup::time_waits(netns, memory));
    let ring = args.sizes.ring_size.unwrap_or_else(|| sizing::ring(DEFAULT_RING, memory));
    let sockets = args.sizes.max_sockets.unwrap_or_else(|| sizing::sockets(DEFAULT_SOCKETS, memory));
    let settings = |kernel: &Resolved| Settings {
        stream: kinds.iter().fold(0, |mask, kind| mask | kind.bit()),
        sizes: Sizes {
            ring,
            spool: sizing::spool(ring, memory),
            time_waits: max_time_waits,
            sockets: sockets.next_power_of_two(),
            ..Sizes::LEAST
        },
        ..Settings::new(kernel, filter.filter, if verbose == 0 { Log::Reason } else { Log::Whole })
    };
    let about = About {
        scope: setup::scope(&filter),
        filters: filter.given,
        netns,
        duration: args.run.attach.duration,
        count: args.run.count,
        summary: if args.output.quiet { Tell::No } else { Tell::Yes },
        steps,
    };
    let summary = run(&mut attempts, settings, &about, Warning::tell, |stop| sink(stop, args.output.json))?;
    setup::warn(&summary);
    Ok(())
}

fn sink(stop: Stop, json: bool) -> Result<Box<dyn Sink>> {
    let out = Output::stdout(stop).context("standard output cannot be written")?;
    Ok(if json {
        Box::new(Json::new(out, CgroupPaths::new()))
    } else {
        Box::new(Text::new(out, setup::style()))
    })
}

impl CgroupNames for CgroupPaths {
    fn path(&mut self, id: u64) -> Option<&str> {
        Self::path(self, id)
    }

    fn seen(&mut self, ids: &[u64]) {
        Self::seen(self, ids);
    }
}

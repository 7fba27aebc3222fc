//! `tw-trace trace`: one line per event, as it happens, and a summary that adds up.

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use tw_trace_common::config::filter_bits;

use crate::{
    audit::Scope,
    cli::{FilterArgs, TraceArgs},
    exit::Usage,
    filter,
    kernel::{
        cgroup::CgroupPaths,
        load::{Settings, Sizes},
        netns,
        plan::Wants,
        prepare::Prepared,
    },
    run::{About, Tell, Until, run},
    sink::{CgroupNames, Sink, Style, json::Json, text::Text},
    warning::Warning,
};

pub fn trace(args: &TraceArgs) -> Result<()> {
    let kinds = filter::kinds(&args.events, &args.filters).map_err(Usage)?;
    let netns = args.filters.netns.as_deref().map(netns::resolve).transpose().map_err(usage)?;
    let filter = filter::resolve(&args.filters, netns, cgroup(&args.filters)?).map_err(Usage)?;

    let prepared = Prepared::read(args.run.btf.as_deref());
    let wants = Wants::kinds(&kinds);
    let plan = prepared.plan(args.run.backend.forced(), wants)?;
    let kernel = prepared.resolve(plan)?;
    let settings = Settings {
        offsets: kernel.offsets,
        callers: kernel.callers,
        tw_timer_handler: kernel.tw_timer_handler,
        tick: kernel.tick,
        stream: kinds.iter().fold(0, |mask, kind| mask | kind.bit()),
        filter: filter.filter,
        sizes: Sizes {
            ring: args.sizes.ring_size,
            time_waits: args.sizes.max_time_waits,
            sockets: args.sizes.max_sockets,
        },
    };
    let about = About {
        scope: scope(&filter, wants),
        filters: filter.given,
        netns,
        summary: if args.output.quiet { Tell::No } else { Tell::Yes },
    };
    let out = File::from(stdout()?);
    let json = args.output.json;
    let until = Until { duration: args.run.duration, count: args.run.count };
    let summary = run(&kernel, &settings, about, until, || sink(out, json))?;
    warn(&summary);
    Ok(())
}

/// What lies ill with a run is said on stderr too, where it is not lost among the data.
fn warn(summary: &crate::summary::Summary) {
    let records: u64 = summary.records.iter().map(|records| records.lost).sum();
    if records > 0 {
        eprintln!("{}", Warning::RecordsLost { count: records });
    }
    if summary.sockets.lost > 0 {
        eprintln!("{}", Warning::SocketsLost { count: summary.sockets.lost });
    }
    if !summary.balanced {
        eprintln!("{}", Warning::Unbalanced { why: summary.unbalanced.join("; ") });
    }
}

fn usage(error: anyhow::Error) -> anyhow::Error {
    Usage(format!("{error:#}")).into()
}

/// Filters other than the namespace's make the kernel's own counters incomparable.
fn scope(filter: &filter::Resolved, wants: Wants) -> Scope {
    let narrowing = filter_bits::OWNER | (filter_bits::CONN & !filter_bits::NETNS);
    if !wants.time_waits() {
        Scope::Filtered("--events state".to_owned())
    } else if filter.filter.active & narrowing != 0 {
        Scope::Filtered(filter.given.join(", "))
    } else {
        Scope::Whole
    }
}

/// The id of `--cgroup`, given as a number or as a path.
fn cgroup(filters: &FilterArgs) -> Result<Option<u64>> {
    let Some(given) = &filters.cgroup else { return Ok(None) };
    if let Ok(id) = given.parse() {
        return Ok(Some(id));
    }
    let id = CgroupPaths::new().id(given).map_err(|error| {
        Usage(format!("--cgroup {given}: {error}; give a path below the cgroup v2 mount, or an id"))
    })?;
    Ok(Some(id))
}

/// Standard output without the line buffering that the standard library puts around it.
fn stdout() -> Result<OwnedFd> {
    io::stdout().as_fd().try_clone_to_owned().context("standard output cannot be written")
}

fn sink(out: File, json: bool) -> Box<dyn Sink> {
    let cgroups = CgroupPaths::new();
    if json { Box::new(Json::new(out, cgroups)) } else { Box::new(Text::new(out, Style::Plain)) }
}

impl CgroupNames for CgroupPaths {
    fn path(&mut self, id: u64) -> Option<&str> {
        Self::path(self, id)
    }
}

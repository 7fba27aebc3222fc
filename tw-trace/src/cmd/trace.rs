//! `tw-trace trace`: one line per event, as it happens, and a summary that adds up.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use anyhow::{Context as _, Result};
use tw_trace_common::config::filter_bits;

use crate::{
    audit::Scope,
    begin::{About, Tell},
    cli::{FilterArgs, TraceArgs},
    exit::Usage,
    filter,
    kernel::{
        cgroup::CgroupPaths,
        load::{Log, Settings, Sizes},
        netns::{self, Sysctls},
        plan::Wants,
        prepare::{Attempts, Prepared, Resolved, check_btf_file},
        sizing,
        snapshots::NetnsId,
    },
    output::Output,
    run::run,
    sink::{CgroupNames, Sink, Style, json::Json, text::Text},
    stop::Stop,
    summary::Summary,
    warning::Warning,
};

pub fn trace(args: &TraceArgs, verbose: u8) -> Result<()> {
    let kinds = filter::kinds(&args.events, &args.filters).map_err(Usage)?;
    let netns =
        args.filters.netns.as_deref().map(netns::resolve).transpose().map_err(|error| usage(&error))?;
    let netns = netns.map(NetnsId::with_inode);
    let filter = filter::resolve(&args.filters, netns, cgroup(&args.filters)?).map_err(Usage)?;

    check_btf_file(args.run.btf.as_deref())?;
    let prepared = Prepared::read(args.run.btf.as_deref());
    let wants = Wants::kinds(&kinds);
    let mut attempts = Attempts { prepared, forced: args.run.backend.forced(), wants };
    let max_time_waits = args.sizes.max_time_waits.unwrap_or_else(|| time_waits(netns));
    let settings = |kernel: &Resolved| Settings {
        offsets: kernel.offsets,
        callers: kernel.callers,
        tw_timer_handler: kernel.tw_timer_handler,
        tick: kernel.tick,
        stream: kinds.iter().fold(0, |mask, kind| mask | kind.bit()),
        filter: filter.filter,
        sizes: Sizes {
            ring: args.sizes.ring_size,
            time_waits: max_time_waits,
            sockets: args.sizes.max_sockets.next_power_of_two(),
            ..Sizes::LEAST
        },
        log: if verbose == 0 { Log::Reason } else { Log::Whole },
    };
    let about = About {
        scope: scope(&filter),
        filters: filter.given,
        netns,
        duration: args.run.duration,
        count: args.run.count,
        summary: if args.output.quiet { Tell::No } else { Tell::Yes },
        steps: if verbose == 0 { Tell::No } else { Tell::Yes },
    };
    let summary = run(&mut attempts, settings, &about, Warning::tell, |stop| sink(stop, args.output.json))?;
    warn(&summary);
    Ok(())
}

/// What lies ill with a run is said on stderr too, where it is not lost among the data.
fn warn(summary: &Summary) {
    let records: u64 = summary.records.iter().map(|records| records.lost).sum();
    if records > 0 {
        Warning::RecordsLost { count: records }.tell();
    }
    let sockets = summary.sockets.map_or(0, |sockets| sockets.lost);
    if sockets > 0 {
        Warning::SocketsLost { count: sockets }.tell();
    }
    if summary.balanced == Some(false) {
        Warning::Unbalanced { why: summary.unbalanced.join("; ") }.tell();
    }
}

fn usage(error: &anyhow::Error) -> anyhow::Error {
    Usage(format!("{error:#}")).into()
}

/// Room for time-wait sockets when the command line gives none.
fn time_waits(netns: Option<NetnsId>) -> u32 {
    let limit = netns
        .and_then(|id| netns::enumerate().found.remove(&id.inode))
        .and_then(|netns| netns::run_in(&netns, Sysctls::read).ok()?.number("tcp_max_tw_buckets"));
    sizing::time_waits(limit, sizing::memory_bytes())
}

/// Filters other than the namespace's make the kernel's own counters incomparable.
fn scope(filter: &filter::Resolved) -> Scope {
    let narrowing = filter_bits::OWNER | (filter_bits::CONN & !filter_bits::NETNS);
    if filter.filter.active & narrowing != 0 {
        Scope::Filtered(filter.given.join(", "))
    } else {
        Scope::Whole
    }
}

/// The id of `--cgroup`, given as a number or as a path.
fn cgroup(filters: &FilterArgs) -> Result<Option<u64>> {
    let Some(given) = &filters.cgroup else { return Ok(None) };
    match given.parse() {
        Ok(0) => return Err(Usage("--cgroup 0: no cgroup has this id".to_owned()).into()),
        Ok(id) => return Ok(Some(id)),
        Err(_) => {}
    }
    let id = CgroupPaths::new().id(given).map_err(|error| {
        Usage(format!("--cgroup {given}: {error}; give a path below the cgroup v2 mount, or an id"))
    })?;
    Ok(Some(id))
}

fn sink(stop: Stop, json: bool) -> Result<Box<dyn Sink>> {
    let out = Output::stdout(stop).context("standard output cannot be written")?;
    Ok(if json { Box::new(Json::new(out, CgroupPaths::new())) } else { Box::new(Text::new(out, style())) })
}

/// Colours for a terminal whose user did not decline them (no-color.org).
fn style() -> Style {
    let declined = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stdout().is_terminal() && !declined { Style::Colour } else { Style::Plain }
}

impl CgroupNames for CgroupPaths {
    fn path(&mut self, id: u64) -> Option<&str> {
        Self::path(self, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_that_no_socket_is_in_is_refused() {
        let given = |id: &str| cgroup(&FilterArgs { cgroup: Some(id.to_owned()), ..FilterArgs::default() });
        assert!(given("0").unwrap_err().is::<Usage>());
        assert_eq!(given("42").unwrap(), Some(42));
    }
}

//! What commands that attach make of their options alike.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use anyhow::Result;
use tw_trace_common::{config::filter_bits, counter::Counter};

use crate::{
    audit::Scope,
    begin::Tell,
    cli::{AttachArgs, FilterArgs},
    exit::Usage,
    filter,
    kernel::{
        cgroup::CgroupPaths,
        memory::Memory,
        netns::{self, Sysctls},
        plan::Wants,
        prepare::{Attempts, Prepared},
        sizing,
        snapshots::NetnsId,
    },
    sink::Style,
    start::Steps,
    summary::Summary,
    warning::Warning,
};

/// The namespace of `--netns`.
pub fn netns(filters: &FilterArgs) -> Result<Option<NetnsId>> {
    let inode = filters.netns.as_deref().map(netns::resolve).transpose();
    let inode = inode.map_err(|error| Usage(format!("{error:#}")))?;
    Ok(inode.map(NetnsId::with_inode))
}

/// Filters other than the namespace's make the kernel's own counters incomparable.
pub fn scope(filter: &filter::Resolved) -> Scope {
    let narrowing = filter_bits::OWNER | (filter_bits::CONN & !filter_bits::NETNS);
    if filter.filter.active & narrowing != 0 {
        Scope::Filtered(filter.given.join(", "))
    } else {
        Scope::Whole
    }
}

/// The id of `--cgroup`, given as a number or as a path.
pub fn cgroup(filters: &FilterArgs) -> Result<Option<u64>> {
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

/// The first thing a command does that attaches: from here on it can be stopped.
pub fn steps(verbose: u8) -> Result<Steps> {
    Steps::new(if verbose == 0 { Tell::No } else { Tell::Yes })
}

/// Looks at the kernel: what there is to try for what is wanted.
pub fn attempts(attach: &AttachArgs, wants: Wants, steps: &Steps) -> Result<Attempts> {
    let prepared = Prepared::read(attach.btf.as_deref())?;
    steps.done("kernel looked at")?;
    Ok(Attempts { prepared, forced: attach.backend.forced(), wants })
}

/// Room for time-wait sockets when the command line gives none.
pub fn time_waits(netns: Option<NetnsId>, memory: Memory) -> u32 {
    let limit = netns
        .and_then(|id| netns::find_one(id.inode))
        .and_then(|netns| netns::run_in(&netns, Sysctls::read).ok()?.number("tcp_max_tw_buckets"));
    sizing::time_waits(limit, memory)
}

/// What lies ill with a run is said on stderr too, where it is not lost among the data.
pub fn warn(summary: &Summary) {
    let records: u64 = summary.records.iter().map(|records| records.lost).sum();
    if records > 0 {
        Warning::RecordsLost { count: records }.tell();
    }
    let lost_by =
        |counter| summary.lost_by.iter().find(|(of, _)| *of == counter).map_or(0, |(_, count)| *count);
    let unseen = lost_by(Counter::ExitMissed);
    if unseen > 0 {
        Warning::EndsUnseen { count: unseen }.tell();
    }
    let no_room = summary.sockets.map_or(0, |sockets| sockets.lost).saturating_sub(unseen);
    if no_room > 0 {
        Warning::SocketsLost { count: no_room }.tell();
    }
    if summary.balanced == Some(false) {
        Warning::Unbalanced { why: summary.unbalanced.join("; ") }.tell();
    }
}

/// Colours for a terminal whose user did not decline them (no-color.org).
pub fn style() -> Style {
    let declined = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stdout().is_terminal() && !declined { Style::Colour } else { Style::Plain }
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

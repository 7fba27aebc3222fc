//! The demo's last words: what happened to each kind of close, why it took so long, and whether it adds up.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::stage::Stage;
use super::tally::{Ends, Group, Tally, number};

pub(super) fn print(stage: &Stage, tally: &Tally) -> Result<()> {
    println!("\nWhat happened after close():\n");
    for group in &tally.groups {
        println!("  {} connections: {}", group.connections, group.scenario.about);
        println!("      {}", fate(group));
    }
    if let Some(expired) = expired(&tally.groups) {
        println!("\nexpired: {}, because HZ={} {}", span(&expired), stage.header["hz"], wheel(tally));
    }
    println!("\nSome of the events, as tw-trace tells them:\n");
    for line in tally.examples.values() {
        println!("  {line}");
    }
    println!("\n{}", audit(tally));
    conclude(stage, tally)
}

/// `20 × expired after 60.05 – 62.05 s, closed by tw-client (process 4711)`
fn fate(group: &Group) -> String {
    if group.exits.is_empty() {
        return "no TIME_WAIT: an RST ends the connection at both ends at once".to_owned();
    }
    let ends: Vec<_> = group
        .exits
        .iter()
        .map(|(reason, ends)| {
            format!("{} in TIME_WAIT, {} after {}", ends.count, explained(reason), span(ends))
        })
        .collect();
    let owners: Vec<_> = group.owners.iter().map(|(comm, pid)| format!("{comm} (process {pid})")).collect();
    format!("{}; closed by {}", ends.join("; "), owners.join(" and "))
}

/// A reason in a newcomer's words, with the word that the records use.
fn explained(reason: &str) -> &str {
    match reason {
        "reused" => "reused (a new connect() took the port)",
        "new_syn" => "new_syn (the peer opened the same connection anew)",
        "unknown" => "ended for an unknown reason",
        other => other,
    }
}

/// The shortest and longest expiry over all kinds of close.
fn expired(groups: &[Group]) -> Option<Ends> {
    groups.iter().filter_map(|group| group.exits.get("expired").copied()).reduce(|one, other| Ends {
        count: one.count + other.count,
        shortest: one.shortest.min(other.shortest),
        longest: one.longest.max(other.longest),
    })
}

fn span(ends: &Ends) -> String {
    let (from, to) = (ends.shortest as f64 / 1e9, ends.longest as f64 / 1e9);
    if format!("{from:.2}") == format!("{to:.2}") {
        format!("{from:.2} s")
    } else {
        format!("{from:.2} – {to:.2} s")
    }
}

fn wheel(tally: &Tally) -> String {
    format!(
        "rounds a {} timer up to the next {} slot",
        seconds(&tally.timeouts_ns),
        seconds(&tally.granularities_ns)
    )
}

/// `60 s`, or `2.048 s`; several are told with "or".
fn seconds(all: &BTreeSet<u64>) -> String {
    let each: Vec<_> = all.iter().map(|ns| format!("{} s", *ns as f64 / 1e9)).collect();
    each.join(" or ")
}

fn audit(tally: &Tally) -> String {
    let sockets = |key: &str| number(&tally.summary["sockets"][key]);
    format!(
        "The books: {} seeded + {} entered = {} exited + {} live + {} lost; the kernel's own counters say {} entered. \
         balanced: {}",
        sockets("seeded"),
        sockets("entered"),
        sockets("exited"),
        sockets("live"),
        sockets("lost"),
        tally.counted,
        tally.summary["balanced"]
    )
}

fn conclude(stage: &Stage, tally: &Tally) -> Result<()> {
    let problems = problems(stage.pid, tally);
    if problems.is_empty() {
        println!("Everything adds up.");
        return Ok(());
    }
    bail!("this does not add up:\n  {}", problems.join("\n  "))
}

fn problems(pid: u64, tally: &Tally) -> Vec<String> {
    let mut problems = Vec::new();
    let summary = &tally.summary;
    if summary["balanced"] != true {
        problems.push(format!("tw-trace's own audit: {}", summary["unbalanced"]));
    }
    if number(&summary["lost"]) != 0 {
        problems.push(format!("{} events were lost: {}", summary["lost"], summary["lost_by"]));
    }
    if number(&summary["entered"]) != tally.counted {
        problems.push(format!("{} entered, but the kernel counted {}", summary["entered"], tally.counted));
    }
    for group in &tally.groups {
        problems.extend(group_problems(pid, group));
    }
    problems
}

fn group_problems(pid: u64, group: &Group) -> Vec<String> {
    let (mut problems, name) = (Vec::new(), group.scenario.name);
    if group.exited() != group.expected {
        problems.push(format!("{name}: {} time-wait sockets ended, not {}", group.exited(), group.expected));
    }
    for (reason, wanted) in wanted_ends(group) {
        let got = group.exits.get(reason).map_or(0, |ends| ends.count);
        if got != wanted {
            problems.push(format!("{name}: {got} ended as {reason}, not {wanted}"));
        }
    }
    if let Some((comm, other)) = group.owners.iter().find(|(_, owner)| *owner != pid) {
        problems.push(format!("{name}: closed by {comm} (process {other})? It was process {pid}"));
    }
    problems
}

/// How many should end for which reason; what does not end early expires.
fn wanted_ends(group: &Group) -> Vec<(&'static str, u32)> {
    let expect = &group.scenario.expect;
    match expect.ended {
        None => vec![("expired", group.expected)],
        Some((each, reason)) => {
            let early = each * group.connections / expect.connections;
            vec![(reason, early), ("expired", group.expected - early)]
        }
    }
}

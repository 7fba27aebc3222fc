//! `cargo xtask bench`: what each view costs the traced connections, as ratios from one interleaved run.

mod round;
mod table;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{build, setup, sh};
use round::{Round, Setting};

#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Rounds; each takes every view once, and the untraced load before and after
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Connections of one load
    #[arg(long, default_value_t = 300_000, value_parser = clap::value_parser!(u32).range(1000..))]
    connections: u32,
    /// Pairs of client and server threads, each pair on a CPU of its own [default: one for each CPU]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    pairs: Option<u32>,
    /// Offer no more connections a second than this
    #[arg(long)]
    per_second: Option<u32>,
    /// Only views with this in their names
    #[arg(long)]
    view: Vec<String>,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One thing that is measured: tw-trace's arguments, and a name.
pub(crate) struct View {
    name: &'static str,
    args: &'static [&'static str],
}

const VIEWS: &[View] = &[
    View { name: "trace --json, everything", args: &["trace", "--json"] },
    View { name: "trace, everything", args: &["trace"] },
    View {
        name: "trace --json, TIME_WAIT",
        args: &["trace", "--json", "--events", "tw_enter,tw_rearm,tw_exit"],
    },
    View { name: "hist --json, TIME_WAIT", args: &["hist", "--json", "--of", "time-wait"] },
    View { name: "hist --json, everything", args: &["hist", "--json"] },
];

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    setup::for_build(None)?;
    let start = Instant::now();
    let setting = Setting {
        tw_trace: build::release()?,
        xtask: std::env::current_exe().context("the path of this xtask")?,
        connections: args.connections,
        pairs: args.pairs.unwrap_or_else(cpus),
        per_second: args.per_second,
    };
    let wanted = |view: &&View| args.view.is_empty() || args.view.iter().any(|part| view.name.contains(part));
    let views: Vec<&View> = VIEWS.iter().filter(wanted).collect();
    anyhow::ensure!(!views.is_empty(), "no view has that in its name; there are: {}", names().join("; "));
    let mut rounds: Vec<Round> = Vec::new();
    for number in 1..=args.rounds {
        let round = Round::run(&setting, &views).with_context(|| format!("round {number}"))?;
        println!("round {number} of {}: {}", args.rounds, round.told(&views));
        rounds.push(round);
    }
    println!("\n{}", table::text(&views, &rounds, &setting));
    if let Some(file) = &args.json {
        let text = format!("{:#}\n", table::json(&views, &rounds, &setting));
        fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    println!("took {}", sh::elapsed(start));
    Ok(())
}

fn names() -> Vec<&'static str> {
    VIEWS.iter().map(|view| view.name).collect()
}

fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u32)
}

//! `cargo xtask oracle`: the model of the timer wheel held against the running kernel's own `calc_wheel_index`.
//!
//! Standard output has one line of JSON, which `cargo xtask vm` takes for a scenario's; people read standard error.

mod probe;
mod provoke;
mod tally;

// The module itself, not its crate: that needs the kernel side's compiler, which xtask is there to install.
#[expect(unreachable_pub, dead_code, reason = "tw-trace's own library shows and uses all of it")]
#[path = "../../../tw-trace/src/wheel/modern.rs"]
mod modern;

use std::env::consts::ARCH;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use nix::time::{ClockId, clock_getres};
use serde_json::{Value, json};
use xtask::netns;

use crate::{build, setup};
use modern::Wheel;
use probe::{Probe, Unable};
use provoke::Provoker;
use tally::Tally;

/// As the table of `cargo xtask vm` shows it.
pub(crate) const SCENARIO: &str = "calc_wheel_index";

/// Whatever the kernel does with the provoked timers, it is not waited for longer.
const LIMIT: Duration = Duration::from_mins(2);

#[derive(Args)]
pub(crate) struct OracleArgs {
    /// The lab's eBPF object [default: it is built]
    #[arg(long, value_name = "FILE")]
    object: Option<PathBuf>,
}

pub(crate) fn run(args: &OracleArgs) -> Result<ExitCode> {
    let object = match &args.object {
        Some(file) => file.clone(),
        None => {
            setup::for_build(None)?;
            build::lab(ARCH)?
        }
    };
    let probe = match Probe::attach(&object)? {
        Ok(probe) => probe,
        Err(Unable(why)) => {
            println!("{}", json!({"scenario": SCENARIO, "outcome": "skipped", "why": why}));
            eprintln!("skipped: {why}");
            return Ok(ExitCode::from(3));
        }
    };
    let answer = netns::in_new_netns("oracle", |_| compare(probe))?;
    println!("{answer}");
    let (outcome, why) = (answer["outcome"].as_str(), answer["why"].as_str());
    eprintln!("{}: {}", outcome.unwrap_or_default(), why.unwrap_or_default());
    Ok(if outcome == Some("pass") { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Provokes timers until there are enough of each kind, and says how the model did.
fn compare(mut probe: Probe) -> Result<Value> {
    let start = Instant::now();
    // The coarse clocks' resolution is TICK_NSEC (`posix_get_coarse_res`, 5.10 – 7.3).
    let tick = Duration::from(clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)?);
    let hz = (1.0 / tick.as_secs_f64()).round() as u32;
    let wheel = Wheel::new(hz);
    let mut tally = Tally::new(wheel);
    let mut provoker = Provoker::new(wheel, tick)?;
    while !tally.enough() && start.elapsed() < LIMIT {
        provoker.round()?;
        probe.drain(|placed| tally.add(placed))?;
    }
    provoker.end()?;
    let by = probe.way();
    let counts = probe.end(|placed| tally.add(placed))?;
    let problems = tally.problems(&counts);
    let outcome = if problems.is_empty() { "pass" } else { "fail" };
    let why = [vec![format!("HZ={hz}, by {by}: {}", tally.shown(&counts))], problems].concat().join("; ");
    let timers = tally.json(&counts);
    Ok(json!({"scenario": SCENARIO, "outcome": outcome, "why": why, "hz": hz, "by": by, "timers": timers}))
}

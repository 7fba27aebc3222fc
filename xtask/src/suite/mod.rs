//! `cargo xtask suite`: all scenarios under one tracer, each held against its golden, the kernel's own figures
//! and the model of the timer wheel.
//!
//! Standard output is for programs: first `{"scenarios":N}`, then a line per scenario with its `outcome` (pass,
//! fail, difference, skipped) and `why`, last `{"done":true,"scenarios":N,"unseen":M}`, where M
//! time-wait sockets went without the kernel running a program. People read standard error.

mod demux;
mod golden;
mod hist_view;
mod judge;
mod listing;
pub mod nested;
mod normal;
mod perform;
pub mod player;
mod players;
mod report;
pub(crate) mod tracer;
mod truth;
mod wheel;
mod wheel_view;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::backend::Backend;
use crate::traffic::capability::Capabilities;
use crate::traffic::scenario::{self, Scenario};
use wheel_view::Company;

#[derive(Args, Debug)]
pub struct SuiteArgs {
    /// The tw-trace program to be judged
    #[arg(long, value_name = "PATH")]
    tw_trace: PathBuf,
    /// Its backend
    #[arg(long)]
    backend: Backend,
    /// Only these scenarios
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// Durations must be exact to a tick: for a guest whose clock jumps over idle time
    #[arg(long)]
    exact: bool,
    /// Nothing else happens on this machine: whatever counts all of it must count the same
    #[arg(long)]
    alone: bool,
    /// Write what was told where it differs from a golden, to look at and to commit
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = golden::FOLDER)]
    bless: Option<PathBuf>,
    /// Keep everything that the tracer printed in this file
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
}

/// How late a timer may fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lateness {
    /// Less than a tick.
    Exact,
    /// As on a machine that has other things to do.
    Tolerant,
}

/// Runs the scenarios and prints how each came out.
pub fn run(args: &SuiteArgs) -> Result<ExitCode> {
    let scenarios = chosen(&args.only)?;
    report::begin(scenarios.len() + 3);
    let capabilities = Capabilities::find().context("looking for what this kernel can do")?;
    report::progress(&format!("this kernel: {}", capabilities.shown()));
    let company = if args.alone { Company::Alone } else { Company::Others };
    let performed = perform::perform(&args.tw_trace, args.backend, company, &scenarios)?;
    if let Some(file) = &args.keep {
        performed.trace.keep(file)?;
    }
    let case = judge::Case {
        backend: args.backend,
        capabilities: &capabilities,
        company,
        lateness: if args.exact { Lateness::Exact } else { Lateness::Tolerant },
    };
    let verdicts = judge::all(&case, &performed)?;
    if let Some(folder) = &args.bless {
        golden::bless(folder, args.backend, &capabilities, &verdicts)?;
    }
    let unseen = performed.trace.summary["lost_by"]["exit_missed"].as_u64().unwrap_or(0);
    Ok(report::end(&verdicts, unseen))
}

fn chosen(only: &[String]) -> Result<Vec<&'static Scenario>> {
    if only.is_empty() {
        return Ok(scenario::all().collect());
    }
    let chosen = only.iter().map(|name| scenario::find(name)).collect::<Result<Vec<_>>>()?;
    ensure!(
        (1..chosen.len()).all(|index| !chosen[..index].iter().any(|other| other.name == chosen[index].name)),
        "a scenario was named twice"
    );
    Ok(chosen)
}

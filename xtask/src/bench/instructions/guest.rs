//! The guest's side: loads on one CPU whose clock counts instructions, so that CPU time is a count of them.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use aya::sys::{Stats, enable_stats};
use clap::Args;
use serde_json::{Value, json};
use xtask::backend::Backend;

use crate::bench::load::{Generator, Load, Offer};
use crate::bench::measure::measure;
use crate::bench::view::{Subject, Tells, VIEWS, View};
use crate::vm::NS_PER_INSTRUCTION;

#[derive(Args)]
pub(crate) struct GuestArgs {
    #[arg(long)]
    tw_trace: PathBuf,
    /// Connections of one load
    #[arg(long)]
    connections: u32,
    /// Also what the connection runs as a whole under each view
    #[arg(long)]
    whole: bool,
    /// Only views with this in their names
    #[arg(long)]
    view: Vec<String>,
}

/// Prints one line of JSON for the untraced load, and one for each view and backend.
pub(crate) fn run(args: &GuestArgs) -> Result<()> {
    let offer = Offer {
        xtask: std::env::current_exe().context("the path of this xtask")?,
        connections: args.connections,
        pairs: 1,
        per_second: None,
        standing: 0,
    };
    // The first ones pay for what a kernel does only once.
    for _ in 0..2 {
        Generator::start(&offer)?.go()?;
    }
    let untraced = instructions(&Generator::start(&offer)?.go()?);
    println!("{}", json!({ "untraced": untraced }));
    let wanted = |view: &&View| args.view.is_empty() || args.view.iter().any(|part| view.name.contains(part));
    for view in VIEWS.iter().filter(wanted) {
        for &backend in view.backends {
            let line = traced(args, &offer, view, backend);
            println!("{}", line.with_context(|| format!("{} under {}", view.name, backend.name()))?);
        }
    }
    println!("{}", json!({ "done": true }));
    Ok(())
}

fn traced(args: &GuestArgs, offer: &Offer, view: &View, backend: Backend) -> Result<Value> {
    let mut subject = Subject::view(args.tw_trace.clone(), view);
    subject.args.extend(["--backend".to_owned(), backend.name().to_owned()]);
    let mut runs = Vec::new();
    let measured = {
        let _statistics = enable_stats(Stats::RunTime).context("the kernel's statistics of programs")?;
        measure(offer, &subject, Some(&mut runs))?
    };
    let lost = measured.account.map_or(0, |account| account.lost);
    ensure!(lost == 0, "{lost} events were lost: the others cannot be compared");
    // A load of its own, for the statistics run instructions too.
    let whole = args.whole.then(|| measure(offer, &subject, None)).transpose()?;
    let of_one = |ns: f64| ns / NS_PER_INSTRUCTION / f64::from(offer.connections);
    let tracer = match view.tells {
        Tells::Connections => Some(of_one(measured.busy.as_secs_f64() * 1e9)),
        Tells::Counts => None,
    };
    Ok(json!({
        "view": view.name,
        "backend": backend.name(),
        "programs": of_one(runs.iter().map(|program| program.ns as f64).sum()),
        "tracer": tracer,
        "connection": whole.map(|measured| instructions(&measured.load)),
    }))
}

/// Of one connection: of both its ends, and of the kernel's work for them.
fn instructions(load: &Load) -> f64 {
    load.process_us * 1e3 / NS_PER_INSTRUCTION
}

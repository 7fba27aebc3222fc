//! `cargo xtask bench`: what each view costs the traced connections, as ratios from one interleaved run, beside what
//! other tools cost and what the kernel charges anybody.

mod flat;
mod floor;
pub(crate) mod instructions;
mod load;
mod machine;
mod measure;
mod memory;
mod peers;
mod process;
mod programs;
mod report;
mod round;
mod table;
mod told;
mod view;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use nix::sys::signal::{SigHandler, Signal, signal};

use crate::vm::Prepared;
use crate::{build, setup, sh};
use instructions::{Extent, Verdict};
use load::Offer;
use programs::Runs;
use round::{Round, Traced};
use view::{Subject, VIEWS};

pub(crate) use floor::{FloorArgs, run as run_floor};
pub(crate) use instructions::guest::{GuestArgs, run as run_guest};

#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Rounds; each takes every subject once, and the untraced load before, after and between
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Connections of one load; with --flat 30,000
    #[arg(long, default_value_t = 300_000, default_value_if("flat", "true", "30000"), value_parser = clap::value_parser!(u32).range(1000..))]
    connections: u32,
    /// Pairs of client and server threads, each pair on a CPU of its own [default: one for each CPU]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    pairs: Option<u32>,
    /// Offer no more connections a second than this
    #[arg(long)]
    per_second: Option<u32>,
    /// So many sockets are in TIME_WAIT before each tracer starts
    #[arg(long, value_name = "SOCKETS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_500_000))]
    standing: u32,
    /// Compare what a run of the programs costs with 1,000 sockets in TIME_WAIT and with --standing, by turns
    #[arg(long, requires = "standing", conflicts_with_all = ["peers", "no_peers"])]
    flat: bool,
    /// Only what has this in its name
    #[arg(long, value_name = "NAME")]
    view: Vec<String>,
    /// Also other tools that do the same, where they are installed: the default
    #[arg(long, overrides_with = "no_peers")]
    peers: bool,
    /// No other tools
    #[arg(long)]
    no_peers: bool,
    /// Count instructions instead, in a guest of this kernel line whose clock counts them [default: 6.12]
    #[arg(long, value_name = "KERNEL", num_args = 0..=1, default_missing_value = instructions::LINE)]
    #[arg(conflicts_with_all = ["rounds", "connections", "pairs", "per_second", "standing", "flat", "peers", "no_peers"])]
    instructions: Option<String>,
    /// Keep these counts as what `cargo xtask test` compares with
    #[arg(long, requires = "instructions", conflicts_with = "view")]
    write_baseline: bool,
    /// Only compare with the baseline, as `cargo xtask test` does
    #[arg(long, requires = "instructions", conflicts_with_all = ["view", "write_baseline", "json"])]
    compare: bool,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// All that a run came to.
struct Results<'a> {
    offer: &'a Offer,
    subjects: &'a [Subject],
    rounds: Vec<Round>,
    /// Of each subject's programs.
    statistics: Vec<Vec<Runs>>,
    /// What is not there to be measured.
    missing: Vec<String>,
}

impl Results<'_> {
    /// A subject in all rounds.
    fn of(&self, place: usize) -> Vec<&Traced> {
        self.rounds.iter().map(|round| &round.traced[place]).collect()
    }
}

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let start = Instant::now();
    match &args.instructions {
        Some(_) if args.compare => compare()?,
        Some(line) => args.count_instructions(line)?,
        None => args.measure(start)?,
    }
    println!("took {}", sh::elapsed(start));
    Ok(())
}

/// A shell that starts us in the background has us ignore SIGINT, and so all that we start: it is how we stop them.
fn heed_interrupts() -> Result<()> {
    // SAFETY: the default is no handler of ours.
    unsafe { signal(Signal::SIGINT, SigHandler::SigDfl) }.context("heeding SIGINT again")?;
    Ok(())
}

fn compare() -> Result<()> {
    match instructions::check()? {
        Verdict::Same => println!("as in the baseline"),
        Verdict::Skipped(why) => println!("not compared: {why}"),
        Verdict::Different(differences) => anyhow::bail!(differences.join("\n")),
    }
    Ok(())
}

fn write_json(file: &Path, value: &serde_json::Value) -> Result<()> {
    fs::write(file, format!("{value:#}\n")).with_context(|| format!("writing {}", file.display()))
}

fn to_go(round: Duration, rounds_left: u32) -> String {
    let minutes = (round * rounds_left).as_secs_f64() / 60.0;
    format!("that round took {:.0} s; {rounds_left} to go, about {minutes:.0} min", round.as_secs_f64())
}

impl BenchArgs {
    fn measure(&self, start: Instant) -> Result<()> {
        heed_interrupts()?;
        setup::for_build(None)?;
        let offer = Offer {
            xtask: std::env::current_exe().context("the path of this xtask")?,
            connections: self.connections,
            pairs: self.pairs.unwrap_or_else(cpus),
            per_second: self.per_second,
            standing: self.standing,
        };
        let (subjects, missing) = self.subjects(&offer)?;
        missing.iter().for_each(|sentence| println!("bench: {sentence}"));
        let tell = |line: &str| println!("bench: {} {line}", sh::elapsed(start));
        if self.flat {
            return self.compare_standing(&offer, &subjects, &tell);
        }
        let mut results = Results {
            offer: &offer,
            subjects: &subjects,
            rounds: Vec::new(),
            statistics: Vec::new(),
            missing,
        };
        for number in 1..=self.rounds {
            println!("bench: round {number} of {}", self.rounds);
            let began = Instant::now();
            let round = Round::run(&offer, &subjects, number as usize - 1, &tell);
            results.rounds.push(round.with_context(|| format!("round {number}"))?);
            println!("bench: {}", to_go(began.elapsed(), self.rounds - number));
        }
        println!("bench: once more with the kernel's statistics of programs");
        results.statistics = round::statistics(&offer, &subjects, &tell)?;
        println!("\n{}", table::text(&results));
        if let Some(file) = &self.json {
            write_json(file, &report::json(&results))?;
        }
        Ok(())
    }

    fn compare_standing(&self, offer: &Offer, subjects: &[Subject], tell: &dyn Fn(&str)) -> Result<()> {
        anyhow::ensure!(
            offer.standing > flat::FEW,
            "--standing {}: more than {} are to be compared",
            offer.standing,
            flat::FEW
        );
        let _statistics = programs::count()?;
        let mut costs = Vec::new();
        for number in 1..=self.rounds {
            println!("bench: round {number} of {}", self.rounds);
            let began = Instant::now();
            flat::round(offer, subjects, number, &mut costs, tell)
                .with_context(|| format!("round {number}"))?;
            println!("bench: {}", to_go(began.elapsed(), self.rounds - number));
        }
        println!("\n{}", flat::text(offer, &costs));
        self.json.as_ref().map_or(Ok(()), |file| write_json(file, &flat::json(offer, &costs)))
    }

    fn count_instructions(&self, line: &str) -> Result<()> {
        let counts =
            instructions::count(&Prepared::new(line)?, instructions::CONNECTIONS, Extent::Whole, &self.view)?;
        println!("\n{}", instructions::text(&counts));
        if let Some(file) = &self.json {
            write_json(file, &counts.to_json())?;
        }
        if self.write_baseline {
            anyhow::ensure!(line == instructions::LINE, "the baseline is of Linux {}", instructions::LINE);
            instructions::write(&counts)?;
        }
        Ok(())
    }

    /// What is to be measured, and what cannot be for want of a program.
    fn subjects(&self, offer: &Offer) -> Result<(Vec<Subject>, Vec<String>)> {
        let tw_trace = build::release()?;
        let lab = build::lab(std::env::consts::ARCH)?;
        let mut all: Vec<Subject> = VIEWS.iter().map(|view| Subject::view(tw_trace.clone(), view)).collect();
        all.extend(floor::subjects(&offer.xtask, &lab));
        let mut missing = Vec::new();
        if !self.flat && (self.peers || !self.no_peers) {
            let (found, sentences) = peers::find();
            all.extend(found);
            missing = sentences;
        }
        let names: Vec<String> = all.iter().map(|subject| subject.name.clone()).collect();
        all.retain(|subject| {
            self.view.is_empty() || self.view.iter().any(|part| subject.name.contains(part))
        });
        anyhow::ensure!(!all.is_empty(), "nothing has that in its name; there are: {}", names.join("; "));
        Ok((all, missing))
    }
}

fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u32)
}

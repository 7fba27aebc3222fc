//! Runs every check and test there is, shows how far it is, and closes with one line of totals.

mod tally;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::bench::instructions::{self, Verdict};
use crate::lint::{self, Check, Outcome};
use crate::sh::Heard;
use crate::vm::{self, Matrix};
use crate::{build, setup, sh};
use tally::Tally;

#[derive(Args)]
pub(crate) struct TestArgs {
    /// Run only the tests with one of these in their names, no lints, and boot no kernels
    filters: Vec<String>,
}

/// Live tests sleep through TIME_WAIT for most of their minute: some at once cost no more than one. But each has a
/// tracer on every timer of the machine, and dozens of them make each other's timers late.
const THREADS: &str = "12";

pub(crate) fn run(args: &TestArgs) -> Result<ExitCode> {
    let start = Instant::now();
    setup::for_build(None)?;
    setup::for_tests()?;
    let checks = if args.filters.is_empty() { lint::style() } else { Vec::new() };
    let binary = build::release()?;
    let mut tally = run_tests(&binary, &args.filters)?;
    if args.filters.is_empty() {
        let begun = Instant::now();
        println!("\nbooting real kernels (all of them: cargo xtask vm --all)");
        boot(&mut tally);
        println!("booting real kernels took {}", sh::elapsed(begun));
        count_instructions(&mut tally);
    }
    Ok(conclude(&tally, &checks, start))
}

/// The scenarios on other kernels than this machine's.
fn boot(tally: &mut Tally) {
    match vm::matrix() {
        Ok(Matrix { passed, failures, skips, repeats, table }) => {
            println!("\n{table}");
            tally.add(passed, failures, skips);
            tally.repeated(repeats);
        }
        Err(error) => tally.add(0, Vec::new(), vec![format!("real kernels under QEMU: {error:#}")]),
    }
}

/// What the views cost in a guest whose clock counts instructions, held against the baseline.
fn count_instructions(tally: &mut Tally) {
    const NAME: &str = "instructions by connection";
    let begun = Instant::now();
    println!("counting instructions by connection");
    match instructions::check() {
        Ok(Verdict::Same) => tally.add(1, Vec::new(), Vec::new()),
        Ok(Verdict::Different(differences)) => {
            let failure = |difference: String| format!("{NAME}: {difference}");
            tally.add(0, differences.into_iter().map(failure).collect(), Vec::new());
        }
        Ok(Verdict::Skipped(why)) => tally.add(0, Vec::new(), vec![format!("{NAME}: {why}")]),
        Err(error) => tally.add(0, vec![format!("{NAME}: {error:#}")], Vec::new()),
    }
    println!("counting took {}", sh::elapsed(begun));
}

fn run_tests(binary: &Path, filters: &[String]) -> Result<Tally> {
    let mut cargo = sh::cargo();
    cargo.args(["test", "--workspace", "--exclude", "tw-trace-ebpf", "--no-fail-fast"]);
    // Tests that pass show their output too: that is where they say that they were skipped.
    cargo.args(["--", "--show-output"]).args(filters);
    cargo.env("TW_TRACE_BIN", binary);
    cargo.env("TW_TRACE_XTASK", std::env::current_exe().context("the path of this xtask")?);
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        cargo.env("RUST_TEST_THREADS", THREADS);
    }
    follow(cargo)
}

/// Passes the output on as it comes, and counts.
fn follow(cargo: Command) -> Result<Tally> {
    println!("running {}", sh::shown(&cargo));
    let (mut tally, mut part, mut names) = (Tally::default(), Instant::now(), Names::default());
    let status = sh::watch(cargo, |heard| match heard {
        Heard::Line(line) => {
            if !names.hold(line) {
                println!("{line}");
            }
            if tally.line(line) {
                part = Instant::now();
            }
        }
        Heard::Quiet => {
            let (what, finished) = tally.progress();
            println!("… {what}: {} so far, {finished} tests finished", sh::elapsed(part));
        }
    })?;
    tally.ended(status.success());
    Ok(tally)
}

/// The names of all passed tests, which `--show-output` repeats: left out, they were just printed.
#[derive(Default)]
struct Names {
    inside: bool,
}

impl Names {
    fn hold(&mut self, line: &str) -> bool {
        self.inside = line == "successes:" || self.inside && (line.is_empty() || line.starts_with("    "));
        self.inside
    }
}

/// Prints what did not pass and, as the last line, the totals.
fn conclude(tally: &Tally, checks: &[Check], start: Instant) -> ExitCode {
    println!("\nchecks and tests took {}", sh::elapsed(start));
    lint::report(checks);
    for skip in tally.skips() {
        println!("SKIPPED      {skip}");
    }
    for repeat in tally.repeats() {
        println!("REPEATED     {repeat}");
    }
    for failure in tally.failures() {
        println!("FAILED       {failure}");
    }
    let failed_checks = checks.iter().filter(|check| matches!(check.outcome, Outcome::Failed(_))).count();
    let failed = tally.failed() + failed_checks;
    if failed == 0 && tally.passed() == 0 {
        println!("FAILED       no test ran, which proves nothing");
    }
    println!("{} passed, {failed} failed, {} skipped", tally.passed(), tally.skipped());
    if failed == 0 && tally.passed() > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

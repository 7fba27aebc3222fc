//! `cargo xtask`: everything that is done to the tree, one command each.

mod bench;
mod build;
mod kernel_data;
mod lint;
mod oracle;
mod pinned;
mod setup;
mod sh;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::checks;
use xtask::suite;
use xtask::suite::player;
use xtask::traffic::cli as traffic;

/// Sets up, builds and checks tw-trace
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building needs: the compiler and the linker of the kernel side
    Setup(setup::SetupArgs),
    /// Set up, then build the tw-trace binary
    Build(build::BuildArgs),
    /// Set up, build, and watch tw-trace at work on traffic of its own
    Demo,
    /// Check format, clippy of both sides, and dependencies
    Lint,
    /// Set up, check format and clippy, build, and run all tests
    Test(test::TestArgs),
    /// Measure what each view costs the traced connections
    Bench(bench::BenchArgs),
    /// Load one of the programs that `bench` takes for lower bounds
    #[command(hide = true)]
    BenchFloor(bench::FloorArgs),
    /// Count instructions, in a guest whose clock counts them
    #[command(hide = true)]
    BenchGuest(bench::GuestArgs),
    /// Boot real kernels and run the scenarios in them
    Vm(vm::VmArgs),
    /// Hold the model of the timer wheel against this kernel's own
    Oracle(oracle::OracleArgs),
    /// The first process of a guest of `vm`
    #[command(hide = true)]
    VmGuest(vm::GuestArgs),
    /// Run all scenarios under one tw-trace and judge what it tells
    #[command(hide = true)]
    Suite(suite::SuiteArgs),
    /// Run what needs two CPUs, real time or namespaces, under all backends, and judge what tw-trace tells
    #[command(hide = true)]
    Checks(checks::ChecksArgs),
    /// Play one scenario, as the suite asks for it
    #[command(hide = true)]
    Play(player::PlayArgs),
    /// Cut kernels' types and symbols down to what the tests of the plan need
    #[command(hide = true)]
    KernelData(kernel_data::KernelDataArgs),
    /// Make TCP traffic, as the tests and the demo do
    #[command(hide = true)]
    Traffic(traffic::TrafficArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Task::Setup(args) => setup::run(&args).map(done),
        Task::Build(args) => build::run(&args).map(done),
        Task::Demo => demo().map(done),
        Task::Lint => lint::run().map(done),
        Task::Test(args) => test::run(&args),
        Task::Bench(args) => bench::run(&args).map(done),
        Task::BenchFloor(args) => bench::run_floor(&args).map(done),
        Task::BenchGuest(args) => bench::run_guest(&args).map(done),
        Task::Vm(args) => vm::run(&args),
        Task::Oracle(args) => oracle::run(&args),
        Task::VmGuest(args) => vm::run_guest(&args).map(done),
        Task::Suite(args) => suite::run(&args),
        Task::Checks(args) => checks::run(&args),
        Task::Play(args) => player::run(&args).map(done),
        Task::KernelData(args) => kernel_data::run(&args).map(done),
        Task::Traffic(args) => traffic::run(&args).map(done),
    };
    result.unwrap_or_else(|error| {
        eprintln!("cargo xtask: {error}");
        for cause in error.chain().skip(1) {
            eprintln!("because: {cause}");
        }
        // As tw-trace itself: this kernel or these privileges cannot do it.
        if error.is::<xtask::demo::Unable>() { ExitCode::from(3) } else { ExitCode::FAILURE }
    })
}

fn demo() -> anyhow::Result<()> {
    setup::for_build(None)?;
    xtask::demo::run(&build::release()?)
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: &[&str] = &["README.md", "docs/ARCHITECTURE.md", "docs/kernels.md", "docs/performance.md"];

    /// In fenced blocks, behind the prompt; two spaces or more begin a remark.
    fn examples(page: &str) -> Vec<String> {
        let text = std::fs::read_to_string(sh::root().join(page)).expect("a page of the project");
        let prompts = ["# cargo xtask", "$ cargo xtask"];
        let lines = text.lines().filter(|line| prompts.iter().any(|prompt| line.starts_with(prompt)));
        lines.map(|line| line[2..].split("  ").next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn every_example_of_the_pages_is_a_command_line() {
        for page in PAGES {
            let examples = examples(page);
            assert!(page.ends_with("ARCHITECTURE.md") || !examples.is_empty(), "no example in {page}");
            for example in examples {
                let words = example.split_whitespace().skip(1);
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{page}: {example}\n{error}");
                }
            }
        }
    }
}

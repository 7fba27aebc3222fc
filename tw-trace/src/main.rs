//! tw-trace shows what the Linux kernel really does with TCP connections after close().

use std::process::ExitCode;

use clap::Parser as _;
use tw_trace::{
    cli::{Cli, Command},
    cmd, exit, stderr,
};

fn main() -> ExitCode {
    stderr::take_panics();
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Trace(args) => cmd::trace::trace(args, cli.verbose),
        Command::Hist(args) => cmd::hist::hist(args, cli.verbose),
        Command::Wheel(args) => cmd::wheel::wheel(args, cli.verbose),
        Command::Model(args) => cmd::model::model(args),
        Command::Doctor(args) => cmd::doctor::doctor(args),
    };
    exit::code(&result)
}

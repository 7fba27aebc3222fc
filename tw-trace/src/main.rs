//! tw-trace shows what the Linux kernel really does with TCP connections after close().

use std::process::ExitCode;

use clap::Parser as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tw_trace::{
    cli::{Cli, Command},
    cmd, exit, stderr,
};

fn main() -> ExitCode {
    stderr::take_panics();
    raise_limit_of_files();
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

/// There may be more namespaces than the usual 1,024 files; what is held open is bounded by what this process may.
fn raise_limit_of_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where it may not be raised, what cannot be opened is said.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

//! Brings a machine to where tw-trace can be built and tested; says what it does, and does nothing twice.

mod linker;
mod packages;
mod toolchain;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{pinned, sh};

pub(crate) use packages::{for_tests, for_vm};
pub(crate) use toolchain::{Component, host_component, nightly_component};

#[derive(Args)]
pub(crate) struct SetupArgs {
    /// Also what cross-building for this target needs
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Also the system packages that the tests use
    #[arg(long)]
    test: bool,
}

pub(crate) fn run(args: &SetupArgs) -> Result<()> {
    for_build(args.target.as_deref())?;
    if args.test {
        for_tests()?;
    }
    println!("setup: done; `cargo xtask build` makes the binary");
    Ok(())
}

/// What `cargo build` needs: the dated nightly with rust-src and a linker that shares its LLVM.
pub(crate) fn for_build(target: Option<&str>) -> Result<()> {
    let sysroot = step("compiler of the kernel side", toolchain::ensure)?;
    step("linker of the kernel side", || linker::ensure(&sysroot))?;
    if let Some(target) = target {
        step("target of the program", || toolchain::ensure_target(target))?;
    }
    Ok(())
}

/// Result of a step: something found or made, and how that is told.
struct Done<T> {
    what: String,
    value: T,
}

impl<T> Done<T> {
    fn new(what: impl Into<String>, value: T) -> Self {
        Self { what: what.into(), value }
    }
}

fn step<T>(name: &str, action: impl FnOnce() -> Result<Done<T>>) -> Result<T> {
    let start = Instant::now();
    let done = action().with_context(|| format!("setup could not provide the {name}"))?;
    println!("setup: {name}: {} [{}]", done.what, sh::elapsed(start));
    Ok(done.value)
}

/// Announces something slow before it begins.
fn announce(what: &str) {
    println!("setup: {what}");
}

/// Folder of what setup builds for itself.
fn private_root() -> Result<PathBuf> {
    pinned::private_root().context(
        "there is no folder for the tools that setup builds: HOME and XDG_CACHE_HOME are unset; set one of them",
    )
}

//! Rust toolchains through rustup: the dated nightly of the kernel side, and targets of the program.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{Done, announce};
use crate::pinned::{self, TOOLCHAIN};
use crate::sh;

/// The nightly with the sources of `core`; returns its sysroot.
pub(super) fn ensure() -> Result<Done<PathBuf>> {
    if sh::find_program("rustup").is_none() {
        bail!(
            "rustup is missing, and without it the compiler of the kernel side cannot be installed.\n\
             By hand: install rustup (Debian 13 and later have it as a package), then run this again. Without rustup \
             `cargo build` takes the rustc on PATH: it must be 1.97 with rust-src, RUSTC_BOOTSTRAP=1 set, and \
             bpf-linker built for its LLVM"
        );
    }
    if let Some(sysroot) = complete_sysroot() {
        return Ok(Done::new(format!("{TOOLCHAIN} with rust-src, present"), sysroot));
    }
    announce(&format!("installing {TOOLCHAIN} with rust-src (about 100 MB)"));
    let mut install = rustup(&["toolchain", "install", TOOLCHAIN, "--profile", "minimal"]);
    install.args(["--component", "rust-src", "--no-self-update"]);
    sh::run(&mut install).with_context(|| {
        format!(
            "rustup did not deliver {TOOLCHAIN} with rust-src, and without it the kernel side cannot be compiled.\n\
             By hand: check that rustup reaches its server, then \
             `rustup toolchain install {TOOLCHAIN} --profile minimal --component rust-src`. Where it never will, \
             a distribution's rustc and rust-src of version 1.97 do, first on PATH, with RUSTC_BOOTSTRAP=1 and \
             without rustup on PATH"
        )
    })?;
    let sysroot = complete_sysroot().with_context(|| {
        format!("rustup says that it installed {TOOLCHAIN}, yet it has no rust-src; try `rustup toolchain uninstall {TOOLCHAIN}`")
    })?;
    Ok(Done::new(format!("{TOOLCHAIN} with rust-src, installed"), sysroot))
}

/// The nightly's sysroot, if all of it is there.
fn complete_sysroot() -> Option<PathBuf> {
    let sysroot = sh::output(sh::nightly("rustc").args(["--print", "sysroot"])).ok()?;
    Some(PathBuf::from(sysroot)).filter(|sysroot| pinned::has_core_source(sysroot))
}

/// The program's own target, for the toolchain that runs this xtask.
pub(super) fn ensure_target(target: &str) -> Result<Done<()>> {
    let sysroot = sh::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    if PathBuf::from(sysroot).join("lib/rustlib").join(target).join("lib").is_dir() {
        return Ok(Done::new(format!("{target}, present"), ()));
    }
    announce(&format!("installing the target {target}"));
    sh::run(&mut rustup(&["target", "add", target])).with_context(|| {
        format!(
            "rustup did not deliver the target {target}, and without it the program cannot be built for it.\n\
             By hand: `rustup target add {target}`"
        )
    })?;
    Ok(Done::new(format!("{target}, installed"), ()))
}

/// A tool that comes as a rustup component.
pub(crate) enum Component {
    Rustfmt,
    Clippy,
}

impl Component {
    fn names(&self) -> (&'static str, &'static str) {
        match self {
            Self::Rustfmt => ("rustfmt", "rustfmt"),
            Self::Clippy => ("clippy", "clippy-driver"),
        }
    }
}

/// Has the component in the toolchain that runs this xtask.
pub(crate) fn host_component(component: &Component) -> Result<()> {
    let (name, program) = component.names();
    if sh::output(Command::new(program).arg("--version")).is_ok() {
        return Ok(());
    }
    announce(&format!("installing {name}"));
    sh::run(&mut rustup(&["component", "add", name]))
}

/// Has the component in the dated nightly.
pub(crate) fn nightly_component(component: &Component) -> Result<()> {
    let (name, program) = component.names();
    if sh::output(sh::nightly(program).arg("--version")).is_ok() {
        return Ok(());
    }
    announce(&format!("installing {name} for {TOOLCHAIN}"));
    sh::run(&mut rustup(&["component", "add", name, "--toolchain", TOOLCHAIN]))
}

fn rustup(args: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    // With backtraces on, rustup buries "no network" under thirty lines.
    command.args(args).env_remove("RUST_BACKTRACE");
    command
}

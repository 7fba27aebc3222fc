//! Checks that need no running program: format, clippy for both sides, and the dependencies.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::setup::{self, Component};
use crate::{pinned, sh};

/// How a check came out.
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    /// It could not be made here; never silent, never a pass.
    NotChecked(String),
}

/// A check, and how it came out.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) outcome: Outcome,
}

/// `cargo xtask lint`
pub(crate) fn run() -> Result<()> {
    setup::for_build(None)?;
    let mut checks = style();
    checks.extend([
        check("dependencies: bans, licenses, sources", || deny(&["bans", "licenses", "sources"])),
        check("dependencies: advisories", advisories),
        check("fuzz targets", fuzz_targets),
    ]);
    report(&checks);
    let failed = checks.iter().filter(|check| matches!(check.outcome, Outcome::Failed(_))).count();
    if failed > 0 {
        bail!("{failed} of {} checks failed", checks.len());
    }
    Ok(())
}

/// The quick checks, which `test` makes too.
pub(crate) fn style() -> Vec<Check> {
    vec![
        check("format", format),
        check("clippy, user side", clippy_user_side),
        check("clippy, kernel side", clippy_kernel_side),
    ]
}

/// Says each check's outcome once more, together.
pub(crate) fn report(checks: &[Check]) {
    for Check { name, outcome } in checks {
        match outcome {
            Outcome::Passed => println!("ok           {name}"),
            Outcome::Failed(why) => println!("FAILED       {name}: {why}"),
            Outcome::NotChecked(why) => println!("NOT CHECKED  {name}: {why}"),
        }
    }
}

fn check(name: &'static str, make: impl FnOnce() -> Result<Outcome>) -> Check {
    println!("lint: {name} …");
    let start = Instant::now();
    let outcome = make().unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
    println!("lint: {name}: {}", sh::elapsed(start));
    Check { name, outcome }
}

fn passed(command: &mut Command) -> Result<Outcome> {
    sh::run(command).map(|()| Outcome::Passed)
}

fn format() -> Result<Outcome> {
    setup::host_component(&Component::Rustfmt)?;
    passed(sh::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy_user_side() -> Result<Outcome> {
    setup::host_component(&Component::Clippy)?;
    let mut clippy = sh::cargo();
    clippy.args(["clippy", "--workspace", "--exclude", "tw-trace-ebpf", "--all-targets"]);
    passed(clippy.args(["--", "--deny", "warnings"]))
}

/// The kernel side is linted as it is compiled: for BPF, by the nightly, with `core` from source.
fn clippy_kernel_side() -> Result<Outcome> {
    if let Err(why) = setup::nightly_component(&Component::Clippy) {
        return Ok(Outcome::NotChecked(format!("{} has no clippy: {why:#}", pinned::TOOLCHAIN)));
    }
    let mut clippy = sh::nightly("cargo");
    clippy.args(["clippy", "--package", "tw-trace-ebpf", "--lib", "--bins", "--release"]);
    clippy.args(["--features", "lab"]);
    clippy.args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"]);
    let arch = std::env::consts::ARCH;
    clippy.env("CARGO_ENCODED_RUSTFLAGS", format!("--cfg=bpf_target_arch=\"{arch}\""));
    passed(clippy.args(["--", "--deny", "warnings"]))
}

/// They are a workspace of their own: libFuzzer wants the nightly and a C++ compiler.
fn fuzz_targets() -> Result<Outcome> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    if sh::find_program(&compiler).is_none() {
        return Ok(Outcome::NotChecked(format!(
            "there is no C++ compiler {compiler}, which libFuzzer is built with"
        )));
    }
    let mut cargo = sh::nightly("cargo");
    cargo.args(["check", "--locked", "--bins", "--manifest-path", "tw-trace/fuzz/Cargo.toml"]);
    cargo.env("CARGO_TARGET_DIR", sh::root().join("target/fuzz"));
    // They need no kernel side.
    passed(cargo.env("AYA_BUILD_SKIP", "1"))
}

/// Known vulnerabilities, from a database that only the internet has.
fn advisories() -> Result<Outcome> {
    if let Err(why) = sh::output(cargo_deny()?.args(["fetch", "db"])) {
        let why = why.to_string();
        let last = why.lines().last().unwrap_or_default();
        return Ok(Outcome::NotChecked(format!("the advisory database could not be fetched ({last})")));
    }
    deny(&["advisories"])
}

fn deny(what: &[&str]) -> Result<Outcome> {
    passed(cargo_deny()?.arg("check").args(what))
}

/// cargo-deny from PATH, or of our own, built on first use.
fn cargo_deny() -> Result<Command> {
    let root = pinned::private_root().context("no folder for our own tools: HOME is unset")?;
    let own = root.join("bin").join("cargo-deny");
    let program = match sh::find_program("cargo-deny") {
        Some(program) => program,
        None if own.is_file() => own,
        None => {
            println!("lint: building cargo-deny into {} (several minutes, once)", root.display());
            let mut install = sh::cargo();
            install.args(["install", "cargo-deny", "--version", DENY_VERSION, "--locked", "--root"]);
            sh::run(install.arg(&root)).context(
                "cargo-deny was not built, and without it dependencies are not checked; \
                 by hand: put cargo-deny on PATH",
            )?;
            own
        }
    };
    let mut command = Command::new(program);
    command.current_dir(sh::root());
    Ok(command)
}

/// The release whose configuration `deny.toml` is written for.
const DENY_VERSION: &str = "0.20.2";

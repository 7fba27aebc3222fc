//! Builds the tw-trace program, kernel side included (`tw-trace/build.rs` compiles that), and the lab's programs.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::{pinned, setup, sh};

#[derive(Args)]
pub(crate) struct BuildArgs {
    /// Build for this target; x86_64-unknown-linux-musl gives a static binary
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Build unoptimised, with debug assertions
    #[arg(long)]
    debug: bool,
    /// Features of the tw-trace crate, such as debug-log
    #[arg(long, value_name = "LIST")]
    features: Option<String>,
}

pub(crate) fn run(args: &BuildArgs) -> Result<()> {
    setup::for_build(args.target.as_deref())?;
    let start = Instant::now();
    let mut command = sh::cargo();
    command.args(["build", "--package", "tw-trace", "--bin", "tw-trace"]);
    if !args.debug {
        command.arg("--release");
    }
    if let Some(features) = &args.features {
        command.args(["--features", features]);
    }
    if let Some(target) = &args.target {
        command.args(["--target", target]);
        choose_linker(&mut command, target);
    }
    let binary = build(command)?;
    println!("{} ({}, {})", binary.display(), size(&binary)?, sh::elapsed(start));
    Ok(())
}

/// The release binary for this machine: what `test` and `demo` run.
pub(crate) fn release() -> Result<PathBuf> {
    let mut command = sh::cargo();
    command.args(["build", "--release", "--package", "tw-trace", "--bin", "tw-trace"]);
    build(command)
}

/// A program of this workspace as a static release binary for a musl target.
pub(crate) fn static_program(name: &str, target: &str) -> Result<PathBuf> {
    let mut command = sh::cargo();
    command.args(["build", "--release", "--package", name, "--bin", name, "--target", target]);
    choose_linker(&mut command, target);
    build(command)
}

/// The experiments in `tw-trace-ebpf/src/lab`, as an eBPF object for kernels of this architecture (as Rust calls
/// it): only `cargo xtask` loads them, so no build of tw-trace compiles them.
pub(crate) fn lab(arch: &str) -> Result<PathBuf> {
    let mut command = sh::nightly("cargo");
    command.args(["build", "--package", "tw-trace-ebpf", "--bin", "lab", "--features", "lab", "--release"]);
    command.args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"]);
    // As aya-build has it for the kernel side of tw-trace.
    let flags = [&format!("--cfg=bpf_target_arch=\"{arch}\""), "-Cdebuginfo=2", "-Clink-arg=--btf"];
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    let linker = pinned::linker().with_context(|| format!("{} is missing", pinned::LINKER))?;
    command.env("PATH", sh::path_with(linker.parent().context("the linker's folder")?)?);
    let made = build(command)?;
    // The next architecture's has the same name.
    let own = made.with_file_name(format!("lab-{arch}"));
    fs::copy(&made, &own).with_context(|| format!("copying {}", made.display()))?;
    Ok(own)
}

/// Runs a cargo build and returns the program that cargo says it made.
fn build(mut command: Command) -> Result<PathBuf> {
    command.args(["--message-format", "json-render-diagnostics"]);
    let name = sh::shown(&command);
    println!("running {name}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting `{name}`"))?;
    let messages = child.stdout.take().context("cargo's messages")?;
    let made =
        BufReader::new(messages).lines().map_while(Result::ok).filter_map(|line| program(&line)).last();
    let status = child.wait().with_context(|| format!("waiting for `{name}`"))?;
    if !status.success() {
        bail!("`{name}` failed: {status}");
    }
    made.with_context(|| format!("`{name}` made no program"))
}

/// The program that one of cargo's messages announces.
fn program(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    Some(PathBuf::from(message.get("executable")?.as_str()?))
}

/// musl of another architecture links with the linker that Rust brings; a C cross-compiler is not needed.
fn choose_linker(command: &mut Command, target: &str) {
    let foreign = !target.starts_with(std::env::consts::ARCH);
    let key = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
    if foreign && target.ends_with("-linux-musl") && std::env::var_os(&key).is_none() {
        command.env(key, "rust-lld");
    }
}

fn size(binary: &Path) -> Result<String> {
    let bytes = fs::metadata(binary).with_context(|| format!("looking at {}", binary.display()))?.len();
    let tenths = bytes * 10 / (1 << 20);
    Ok(format!("{}.{} MiB", tenths / 10, tenths % 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_executable_is_a_program() {
        let artifact = r#"{"reason":"compiler-artifact","executable":"/t/release/tw-trace"}"#;
        assert_eq!(program(artifact), Some(PathBuf::from("/t/release/tw-trace")));
        assert_eq!(program(r#"{"reason":"compiler-artifact","executable":null}"#), None);
        assert_eq!(program(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(program("warning: text"), None);
    }
}

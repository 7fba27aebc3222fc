//! System programs that tests and virtual machines need: installed from Debian where that can be done, asked for elsewhere.

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use nix::unistd::Uid;

use super::{Done, announce, step};
use crate::sh;

/// A program and the Debian package that brings it.
type Program = (&'static str, &'static str);

const FOR_TESTS: &[Program] = &[("ip", "iproute2"), ("ss", "iproute2"), ("bpftool", "bpftool")];

/// Beside QEMU: Debian packs kernel modules with xz.
const FOR_GUESTS: Program = ("xz", "xz-utils");

pub(crate) fn for_tests() -> Result<()> {
    let without = "tests that look at namespaces, sockets and loaded programs cannot do so";
    step("programs that the tests run", || ensure(FOR_TESTS, without))
}

/// The emulator that boots kernels of one architecture.
pub(crate) fn for_vm(qemu: Program) -> Result<()> {
    step("emulator", || ensure(&[qemu, FOR_GUESTS], "kernels other than this machine's cannot be booted"))
}

/// Has these programs, installing what is missing where that may be done.
fn ensure(needed: &[Program], without: &str) -> Result<Done<()>> {
    let missing = missing(needed);
    if missing.is_empty() {
        return Ok(Done::new(programs(needed), ()));
    }
    install(&missing, without)?;
    let missing = self::missing(needed);
    if !missing.is_empty() {
        bail!("installed, yet still not found: {}", programs(&missing));
    }
    Ok(Done::new(format!("{}, installed", programs(needed)), ()))
}

fn missing(needed: &[Program]) -> Vec<Program> {
    needed.iter().copied().filter(|(program, _)| sh::find_program(program).is_none()).collect()
}

fn install(missing: &[Program], without: &str) -> Result<()> {
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    let by_hand = format!(
        "missing: {}; {without}.\n\
         By hand, as root: `apt-get install {}` (other distributions: the packages with these programs)",
        programs(missing),
        packages.join(" ")
    );
    if !Uid::effective().is_root() || sh::find_program("apt-get").is_none() {
        bail!(by_hand);
    }
    announce(&format!("installing {}", packages.join(" ")));
    let mut install = apt_get(&["install", "--yes", "--no-install-recommends"]);
    sh::run(&mut apt_get(&["update", "--quiet"]))
        .and_then(|()| sh::run(install.args(&packages)))
        .with_context(|| by_hand)
}

fn apt_get(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn programs(of: &[Program]) -> String {
    of.iter().map(|(program, _)| *program).collect::<Vec<_>>().join(", ")
}

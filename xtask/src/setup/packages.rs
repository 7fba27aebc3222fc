//! System programs that the tests run: installed from Debian where that can be done, asked for elsewhere.

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use nix::unistd::Uid;

use super::{Done, announce, step};
use crate::sh;

/// A program and the Debian package that brings it.
const NEEDED: &[(&str, &str)] = &[("ip", "iproute2"), ("ss", "iproute2"), ("bpftool", "bpftool")];

pub(crate) fn for_tests() -> Result<()> {
    step("programs that the tests run", || {
        let mut missing = missing();
        if missing.is_empty() {
            return Ok(Done::new(programs(NEEDED), ()));
        }
        install(&missing)?;
        missing = self::missing();
        if !missing.is_empty() {
            bail!("installed, yet still not found: {}", programs(&missing));
        }
        Ok(Done::new(format!("{}, installed", programs(NEEDED)), ()))
    })
}

fn missing() -> Vec<(&'static str, &'static str)> {
    NEEDED.iter().copied().filter(|(program, _)| sh::find_program(program).is_none()).collect()
}

fn install(missing: &[(&str, &str)]) -> Result<()> {
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    let by_hand = format!(
        "missing: {}; tests that look at namespaces, sockets and loaded programs cannot do so.\n\
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

fn programs(of: &[(&str, &str)]) -> String {
    of.iter().map(|(program, _)| *program).collect::<Vec<_>>().join(", ")
}

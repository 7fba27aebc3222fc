//! One guest with the warped clock, which counts instructions, for `cargo xtask bench`.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::VmArgs;
use super::arch::Arch;
use super::cache::Folder;
use super::kernels::{self, Freshness};
use super::port;
use super::qemu::{self, Boot, End};
use crate::setup;

const LIMIT: Duration = Duration::from_mins(10);

/// What the guest answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// As its kernel calls itself.
    pub(crate) release: String,
    /// The lines of `bench-guest`.
    pub(crate) lines: Vec<Value>,
}

/// A guest that can be booted.
pub(crate) struct Prepared {
    boot: Boot,
    /// Holds what it boots into.
    _folder: Folder,
}

impl Prepared {
    /// Has the kernel of this line, and all that its guest needs. An error means that it cannot be booted here.
    pub(crate) fn new(line: &str) -> Result<Self> {
        let arch = Arch::X86_64;
        setup::for_vm(arch.qemu())?;
        let line = kernels::find(line).map_err(anyhow::Error::msg)?;
        let kernel = kernels::ensure(line, arch, Freshness::Cached)?;
        let folder = Folder::temporary()?;
        let boots = VmArgs::default().boots(&[kernel], &folder.path)?;
        let (_, boot) = boots.into_iter().next().context("nothing to boot")?;
        Ok(Self { boot, _folder: folder })
    }

    /// Boots and has the guest run `bench-guest` with these arguments; hands over each line of its answer.
    pub(crate) fn run(&self, arguments: &[String], on: &mut dyn FnMut(&Value)) -> Result<Answer> {
        let (mut release, mut lines, mut failed) = (None, Vec::new(), None);
        let end = self.boot.run(&json!({ port::BENCH: arguments }), LIMIT, |line| {
            let Ok(line) = serde_json::from_str::<Value>(line) else {
                failed = Some(line.to_owned());
                return;
            };
            match line["guest"].as_str() {
                Some("ready") => release = line["release"].as_str().map(str::to_owned),
                Some(_) => failed = line["why"].as_str().map(str::to_owned),
                None => {
                    on(&line);
                    lines.push(line);
                }
            }
        })?;
        let words = || qemu::last_words(&self.boot.console, 15);
        if let Some(why) = failed {
            bail!("{why}; the guest's last words:\n{}", words());
        }
        ensure!(end == End::Off, "it was not done after {} minutes:\n{}", LIMIT.as_secs() / 60, words());
        ensure!(lines.last().is_some_and(|line| line["done"] == true), "it ended too early:\n{}", words());
        lines.pop();
        Ok(Answer { release: release.context("the guest did not tell its kernel")?, lines })
    }
}

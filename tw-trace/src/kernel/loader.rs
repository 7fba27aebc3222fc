//! An aya loader that has not read the kernel's types.
//!
//! `EbpfLoader::new` (aya 0.14) parses all of /sys/kernel/btf/vmlinux, 20 MB and 35 ms, whatever it is told afterwards;
//! our programs have nothing to relocate, and are attached by a few ids (`btf/pruned.rs`). It goes on without when the
//! file cannot be opened, and there is no other way to tell it: so for as long as that takes, none can.

use anyhow::{Context as _, Result};
use aya::EbpfLoader;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Nobody else in this process may want to open a file meanwhile; threads that wait for signals do not.
pub(super) fn new<'a>() -> Result<EbpfLoader<'a>> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("reading the limit of open files")?;
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).context("lowering the limit of open files for a moment")?;
    let loader = EbpfLoader::new();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).context("raising the limit of open files again")?;
    Ok(loader)
}

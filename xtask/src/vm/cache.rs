//! Where kernels are kept: outside of the target folder, so that `cargo clean` does not fetch them again.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::pinned;

fn root() -> Result<PathBuf> {
    let folder = pinned::private_root().and_then(|root| Some(root.parent()?.to_path_buf()));
    folder.context("there is no folder for kernels: HOME and XDG_CACHE_HOME are unset; set one of them")
}

/// One folder for each kernel line and architecture.
pub(super) fn kernels() -> Result<PathBuf> {
    Ok(root()?.join("kernels"))
}

/// apt's private lists and settings.
pub(super) fn apt() -> Result<PathBuf> {
    Ok(root()?.join("apt"))
}

/// A fresh folder for one run's initramfs images and console logs.
pub(super) fn run() -> Result<PathBuf> {
    Ok(root()?.join("vm").join(std::process::id().to_string()))
}

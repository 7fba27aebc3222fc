//! Where kernels are kept: outside of the target folder, so that `cargo clean` does not fetch them again.

use std::fs;
use std::path::{Path, PathBuf};

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

/// A folder for one run's first roots and console logs, and whether it is to stay.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    stays: bool,
}

impl Folder {
    /// Made for this run; `prefix` tells those that stay from those that go.
    fn make(prefix: &str, stays: bool) -> Result<Self> {
        let parent = root()?.join("vm");
        remove_forgotten(&parent);
        let path = parent.join(format!("{prefix}{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self { path, stays })
    }

    pub(super) fn temporary() -> Result<Self> {
        Self::make("", false)
    }

    pub(super) fn kept() -> Result<Self> {
        Self::make("kept-", true)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.stays
            && let Err(why) = fs::remove_dir_all(&self.path)
        {
            eprintln!("vm: {} is left: {why}", self.path.display());
        }
    }
}

/// Folders of runs that were killed.
fn remove_forgotten(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let process = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
        if process.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
            // Another run may be at it too.
            drop(fs::remove_dir_all(&path));
        }
    }
}

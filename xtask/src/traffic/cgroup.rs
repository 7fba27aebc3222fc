//! A cgroup of our own, below the one that we are in; it goes away when this is dropped.

use std::fs;
use std::path::PathBuf;
use std::process;

use anyhow::{Context, Result};

use super::scene::Lacking;

pub(super) struct Cgroup {
    /// As /proc/PID/cgroup prints it.
    pub(super) path: String,
    pub(super) folder: PathBuf,
}

impl Cgroup {
    pub(super) fn make() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
        let mut mounts = mounts.lines().map(|line| line.split(' '));
        let mount = mounts.find_map(|mut words| {
            let place = words.nth(1)?;
            (words.next() == Some("cgroup2")).then_some(place)
        });
        let mount = mount.ok_or_else(|| Lacking("no cgroup v2 is mounted here".to_owned()))?;
        let own = own()?.context("no cgroup v2 in /proc/self/cgroup")?;
        let path = format!("{}/tw-suite-{}", own.trim_end_matches('/'), process::id());
        let folder = PathBuf::from(format!("{mount}{path}"));
        fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self { path, folder })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}

/// The path of the cgroup v2 that we are in.
pub fn own() -> Result<Option<String>> {
    let text = fs::read_to_string("/proc/self/cgroup").context("reading /proc/self/cgroup")?;
    Ok(text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned))
}

//! /sys, without which neither the kernel's types nor the number of its CPUs is known.

use anyhow::Result;
use aya::util::nr_cpus;
use nix::sys::statfs::{SYSFS_MAGIC, statfs};

use crate::exit::Unable;

/// What follows from a /sys that is not there, and what to do.
pub const NOT_MOUNTED: &str = "/sys is not mounted here, and with it the kernel's types (/sys/kernel/btf/vmlinux) and the \
     number of its CPUs are missing: nothing can be loaded; mount it (`mount -t sysfs sysfs /sys`), or give the container \
     the host's /sys";

/// Whether /sys is the kernel's own. One that cannot be looked at is taken for it: what is missing then shows itself.
pub fn is_mounted() -> bool {
    statfs("/sys").map_or(true, |file_system| file_system.filesystem_type() == SYSFS_MAGIC)
}

/// CPUs that there may be: each has its copy of the maps (/sys/devices/system/cpu/possible).
pub fn cpus() -> Result<usize> {
    if !is_mounted() {
        return Err(Unable(NOT_MOUNTED.to_owned()).into());
    }
    nr_cpus().map_err(|(file, error)| {
        anyhow::Error::new(error).context(format!("the number of CPUs is not known: {file}"))
    })
}

//! The pid namespace whose numbers the user sees with `ps`.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use nix::sys::stat::{major, minor};

/// `PROC_PID_INIT_INO` (include/linux/proc_ns.h, 3.8 – 7.3): the initial pid namespace.
const INITIAL: u64 = 0xEFFF_FFFC;

/// A header's blind spot inside such a namespace.
pub const OUTSIDE: &str = "tw-trace runs in a pid namespace of its own: pids are those of this namespace, as in its /proc; \
                           processes outside it, and in namespaces nested in it, have a name but no pid, and --pid selects \
                           none of them; network namespaces that only they use are not found: what was in TIME_WAIT there \
                           before the start is not reported";

/// A pid namespace that is not the initial one, as the kernel compares it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PidNamespace {
    /// `dev_t` of nsfs, in the kernel's own form: not that of stat(2).
    pub dev: u64,
    pub inode: u64,
}

impl PidNamespace {
    /// The namespace that /proc shows: that of its process 1, or of this process where that one cannot be looked at.
    /// `None` for the initial one, whose numbers the kernel gives without being asked.
    pub fn shown() -> Option<Self> {
        ["/proc/1/ns/pid", "/proc/self/ns/pid"].into_iter().find_map(Self::read).flatten()
    }

    /// The outer `None`: the file cannot be looked at.
    fn read(path: impl AsRef<Path>) -> Option<Option<Self>> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self::of(metadata.dev(), metadata.ino()))
    }

    /// From what stat(2) says. The kernel compares with `MKDEV(major, minor)`: 20 bits are the minor's.
    fn of(dev: u64, inode: u64) -> Option<Self> {
        (inode != INITIAL).then(|| Self { dev: major(dev) << 20 | minor(dev), inode })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_namespace_needs_no_question() {
        assert_eq!(PidNamespace::of(4, INITIAL), None);
        assert_eq!(PidNamespace::of(4, 4_026_532_177), Some(PidNamespace { dev: 4, inode: 4_026_532_177 }));
    }

    /// stat(2) splits a minor above 255 around the major.
    #[test]
    fn devices_are_given_in_the_kernels_form() {
        let stat = nix::sys::stat::makedev(3, 0x1234);
        assert_ne!(stat, 3 << 20 | 0x1234);
        assert_eq!(PidNamespace::of(stat, 1).map(|found| found.dev), Some(3 << 20 | 0x1234));
    }
}

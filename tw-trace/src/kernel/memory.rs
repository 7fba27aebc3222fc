//! How much memory there is to be had: that of the machine, and what the limits of the own cgroups leave of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::mounts;

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// `MemTotal`; `None` where /proc does not say.
    pub machine: Option<u64>,
    /// What is left under the tightest limit of the own cgroups; `None` without a limit. Maps are charged to it since 5.11.
    pub left: Option<u64>,
}

impl Memory {
    /// As it is now.
    pub fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mountinfo = text("/proc/self/mountinfo");
        let left =
            folders(&mountinfo, &text("/proc/self/cgroup")).iter().filter_map(|folder| left(folder)).min();
        Self { machine: machine(&text("/proc/meminfo")), left }
    }
}

/// `MemTotal` of /proc/meminfo.
pub(crate) fn machine(meminfo: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The folders of the own cgroup and of all that it lies in, where memory is limited: the v2 tree and the memory
/// controller's tree of v1 (cgroups(7)). A limit further up holds too.
pub(crate) fn folders(mountinfo: &str, own: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let of_memory = controllers.split(',').any(|name| name == "memory");
        let mounted = match controllers {
            "" => mounts::of_type(mountinfo, "cgroup2").into_iter().next(),
            _ if of_memory => mounts::of_type(mountinfo, "cgroup").into_iter().find(|mount| {
                mount.point.file_name().is_some_and(|name| name.to_string_lossy().contains("memory"))
            }),
            _ => None,
        };
        let Some(mount) = mounted else { continue };
        // In a container the mount may begin below the root of the tree.
        let path = Path::new(path);
        let below = path.strip_prefix(&mount.root).or_else(|_| path.strip_prefix("/")).unwrap_or(path);
        folders.extend(
            mount
                .point
                .join(below)
                .ancestors()
                .take_while(|f| f.starts_with(&mount.point))
                .map(Path::to_owned),
        );
    }
    folders
}

/// The limit of one cgroup less what it uses; `None` where it has none.
fn left(folder: &Path) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let (limit, used) = match number("memory.max") {
        Some(limit) => (limit, number("memory.current")),
        None => (number("memory.limit_in_bytes")?, number("memory.usage_in_bytes")),
    };
    // v1 writes "no limit" as the largest number of whole pages.
    (limit < 1 << 60).then(|| limit.saturating_sub(used.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_machine_is_read_from_meminfo() {
        assert_eq!(machine("MemTotal:       24576 kB\nMemFree: 1 kB\n"), Some(24576 << 10));
        assert_eq!(machine("MemFree: 1 kB\n"), None);
        assert!(Memory::read().machine.is_some());
    }

    #[test]
    fn the_own_cgroup_and_all_above_it_may_limit() {
        let mountinfo = "24 1 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                         25 1 0:2 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                         26 1 0:3 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let own = "8:pids:/\n4:memory:/pod/x\n0::/a\n";
        let wanted = ["memory/pod/x", "memory/pod", "memory", "unified/a", "unified"];
        let wanted: Vec<_> = wanted.iter().map(|name| Path::new("/sys/fs/cgroup").join(name)).collect();
        assert_eq!(folders(mountinfo, own), wanted);
        assert!(folders("", own).is_empty());
        assert!(folders(mountinfo, "nonsense").is_empty());
    }

    #[test]
    fn a_mount_that_begins_below_the_root_is_understood() {
        let mountinfo = "24 1 0:1 /pod/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let wanted = [Path::new("/sys/fs/cgroup/y"), Path::new("/sys/fs/cgroup")];
        assert_eq!(folders(mountinfo, "0::/pod/x/y\n"), wanted);
        // In a cgroup namespace the path is relative to the mount.
        assert_eq!(folders(mountinfo, "0::/y\n"), wanted);
    }

    #[test]
    fn what_is_left_is_the_limit_less_the_use() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(left(folder.path()), None);
        fs::write(folder.path().join("memory.max"), "max\n").unwrap();
        assert_eq!(left(folder.path()), None);
        fs::write(folder.path().join("memory.max"), "1000\n").unwrap();
        fs::write(folder.path().join("memory.current"), "400\n").unwrap();
        assert_eq!(left(folder.path()), Some(600));
        fs::write(folder.path().join("memory.current"), "4000\n").unwrap();
        assert_eq!(left(folder.path()), Some(0));
    }
}

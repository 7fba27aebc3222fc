//! Whether cgroup v2, the only one that programs can ask for, groups the processes of this host.

use std::{fs, path::Path};

use super::mounts;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupUse {
    /// Processes are in cgroups of v2, or there is no other.
    V2,
    /// v2 is mounted, but only groups of v1 have processes in them.
    OnlyV1,
    NotMounted,
}

impl CgroupUse {
    pub fn read() -> Self {
        Self::of(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    fn of(mountinfo: &str) -> Self {
        let trees = mounts::of_type(mountinfo, "cgroup2");
        if trees.is_empty() {
            Self::NotMounted
        } else if mounts::of_type(mountinfo, "cgroup").is_empty()
            || trees.iter().any(|tree| has_populated_group(&tree.point))
        {
            Self::V2
        } else {
            Self::OnlyV1
        }
    }

    /// A header's blind spot, if there is one.
    pub const fn blind_spot(self) -> Option<&'static str> {
        match self {
            Self::V2 => None,
            Self::OnlyV1 => Some(
                "processes are grouped by cgroup v1 here, which programs cannot ask for: no process is in a cgroup v2 \
                 below the root, so the cgroup is \"/\" for everybody",
            ),
            Self::NotMounted => Some(
                "cgroup v2 is not mounted here, and programs cannot ask for cgroup v1: cgroups have no path",
            ),
        }
    }
}

/// A process lives in a group below the root: `cgroup.events` (5.10 – 7.3) counts those further down too.
fn has_populated_group(root: &Path) -> bool {
    let groups = fs::read_dir(root).into_iter().flatten().flatten();
    let mut events = groups.filter_map(|group| fs::read_to_string(group.path().join("cgroup.events")).ok());
    events.any(|text| text.lines().any(|line| line == "populated 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_is_used_where_a_process_is_below_its_root() {
        let root = std::env::temp_dir().join(format!("tw-trace-cgroup-use-{}", std::process::id()));
        let group = root.join("a.slice");
        fs::create_dir_all(&group).expect("a folder");
        let v2 = format!("41 31 0:38 / {} rw - cgroup2 cgroup2 rw\n", root.display());
        let both = format!("{v2}31 23 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n");
        fs::write(group.join("cgroup.events"), "populated 0\nfrozen 0\n").expect("a file");
        let unused = (CgroupUse::of(&both), CgroupUse::of(&v2));
        fs::write(group.join("cgroup.events"), "populated 1\nfrozen 0\n").expect("a file");
        let used = CgroupUse::of(&both);
        fs::remove_dir_all(&root).expect("the folder goes");
        assert_eq!(unused, (CgroupUse::OnlyV1, CgroupUse::V2));
        assert_eq!(used, CgroupUse::V2);
        assert_eq!(CgroupUse::of(both.lines().nth(1).unwrap_or_default()), CgroupUse::NotMounted);
    }

    #[test]
    fn only_where_v2_groups_nobody_is_there_a_blind_spot() {
        let said = [CgroupUse::V2, CgroupUse::OnlyV1, CgroupUse::NotMounted].map(CgroupUse::blind_spot);
        assert_eq!(said.map(|spot| spot.is_some()), [false, true, true]);
    }
}

//! What /proc tells of the open files of a process, among them eBPF programs, links and maps.

use std::fs;
use std::path::{Path, PathBuf};

/// What the kernel tells about each of its descriptors.
pub fn descriptors(pid: u32) -> Vec<PathBuf> {
    let folder = Path::new("/proc").join(pid.to_string()).join("fdinfo");
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// A figure, or with names (`link_type`) that it is there at all.
pub fn field(fdinfo: &str, name: &str) -> Option<u64> {
    let value = fdinfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_fdinfo() {
        let text = "pos:\t0\nlink_type:\ttracing\nprog_id:\t3908\nrun_time_ns:\t12\n";
        assert_eq!(field(text, "prog_id"), Some(3908));
        assert_eq!(field(text, "run_time_ns"), Some(12));
        assert_eq!(field(text, "link_type"), Some(0));
        assert_eq!(field(text, "run_cnt"), None);
    }
}

//! /proc/self/mountinfo, as far as tw-trace asks: where a file system is mounted, and what of it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One line of mountinfo (proc(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What of the file system is mounted: a path in it, or `net:[INODE]` for a namespace.
    pub root: PathBuf,
    pub point: PathBuf,
    pub fs_type: String,
}

/// The mounts of this file-system type, in mount order.
pub fn of_type(mountinfo: &str, fs_type: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(parse).filter(|mount| mount.fs_type == fs_type).collect()
}

/// Fields 4 and 5, and the first behind the lone `-`; optional fields stand between.
fn parse(line: &str) -> Option<Mount> {
    let mut fields = line.split(' ');
    let root = unescape(fields.nth(3)?);
    let point = unescape(fields.next()?);
    let fs_type = fields.skip_while(|field| *field != "-").nth(1)?.to_owned();
    Some(Mount { root, point, fs_type })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::new(), field.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let octal = behind.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 master:1 - cgroup2 cgroup2 rw
50 22 0:4 net:[4026532177] /run/netns/a\\040b rw shared:5 - nsfs nsfs rw
short line
";

    #[test]
    fn mounts_are_found_by_type_with_their_paths_unescaped() {
        let nsfs = of_type(MOUNTINFO, "nsfs");
        assert_eq!(nsfs.len(), 1);
        assert_eq!(nsfs[0].root, PathBuf::from("net:[4026532177]"));
        assert_eq!(nsfs[0].point, PathBuf::from("/run/netns/a b"));
        assert_eq!(of_type(MOUNTINFO, "cgroup2")[0].point, PathBuf::from("/sys/fs/cgroup/unified"));
        assert_eq!(of_type(MOUNTINFO, "ext4"), []);
    }

    #[test]
    fn escapes_that_are_none_are_kept() {
        assert_eq!(unescape("a\\04"), PathBuf::from("a\\04"));
        assert_eq!(unescape("\\134\\999"), PathBuf::from("\\\\999"));
    }
}

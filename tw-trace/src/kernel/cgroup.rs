//! cgroup v2 ids to paths, as /proc/PID/cgroup prints them.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cgroup_cache::{CACHE, Cache};
use super::mounts;

/// `FILEID_KERNFS` (include/linux/exportfs.h, 5.5 – 7.3): the handle is the 64-bit id.
const FILEID_KERNFS: i32 = 0xfe;
/// Directories looked at in one walk.
const WALK_LIMIT: usize = 65_536;
/// A walk takes a while: ids that come meanwhile wait for the next one.
const WALK_PAUSE: Duration = Duration::from_secs(1);

/// `struct file_handle` (open_by_handle_at(2)) with an id in it.
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    id: [u8; 8],
}

/// Resolves ids, remembering both paths and ids that have none.
#[derive(Debug, Default)]
pub struct CgroupPaths {
    mount: Option<Mounted>,
    cache: Cache,
    /// Ids that wait for the next walk.
    waiting: HashSet<u64>,
    walked: Option<Instant>,
}

#[derive(Debug)]
struct Mounted {
    point: PathBuf,
    dir: File,
}

impl CgroupPaths {
    /// On a host without cgroup v2 every id is unknown.
    pub fn new() -> Self {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self { mount: find_mount(&mountinfo), ..Self::default() }
    }

    /// The path of the cgroup; `None` for zero, for one that is gone, and for one that cannot be seen from here.
    pub fn path(&mut self, id: u64) -> Option<&str> {
        if id == 0 {
            return None;
        }
        self.learn(id);
        self.resolve_waiting(Instant::now());
        self.cache.get(id).flatten()
    }

    /// These cgroups are there now: their paths are looked up, to be known later. To be called now and then also without
    /// any, for those that wait.
    pub fn seen(&mut self, ids: &[u64]) {
        ids.iter().filter(|id| **id != 0).for_each(|id| self.learn(*id));
        self.resolve_waiting(Instant::now());
    }

    /// The id of the cgroup at this path, for `--cgroup`: absolute below the mount, or as /proc/PID/cgroup has it.
    pub fn id(&self, path: &str) -> io::Result<u64> {
        let mount = self.mount.as_ref().ok_or_else(|| io::Error::other("cgroup v2 is not mounted"))?;
        let given = Path::new(path);
        let full = if given.starts_with(&mount.point) {
            given.to_owned()
        } else {
            mount.point.join(path.trim_start_matches('/'))
        };
        // kernfs_node.id is the inode number where ino_t has 64 bits (kernfs_id_ino, 5.5 – 7.3).
        fs::metadata(full).map(|metadata| metadata.ino())
    }

    fn learn(&mut self, id: u64) {
        let Some(mount) = &self.mount else { return };
        if self.cache.get(id).is_some() {
            return;
        }
        match open_by_id(&mount.dir, id) {
            Ok(file) => self.cache.insert(id, mount.path_of(&file)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                // As many as the cache can take in; more would only push each other out.
                if self.waiting.len() < CACHE / 2 {
                    self.waiting.insert(id);
                }
            }
            // ESTALE: gone.
            Err(_) => self.cache.insert(id, None),
        }
    }

    /// One walk for all that wait, unless the last one was just now.
    fn resolve_waiting(&mut self, now: Instant) {
        let Some(mount) = &self.mount else { return };
        let is_due = self.walked.is_none_or(|walked| now.saturating_duration_since(walked) >= WALK_PAUSE);
        if self.waiting.is_empty() || !is_due {
            return;
        }
        let Self { cache, waiting, .. } = self;
        walk(&mount.point, |id, path| {
            if waiting.remove(&id) || cache.takes_more() {
                cache.insert(id, Some(path));
            }
        });
        waiting.drain().for_each(|id| cache.insert(id, None));
        // From its end: a walk that takes long does not follow upon the last.
        self.walked = Some(Instant::now().max(now));
    }
}

impl Mounted {
    fn path_of(&self, file: &OwnedFd) -> Option<String> {
        let full = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
        relative(&self.point, &full)
    }
}

/// `/` for the mount point itself, `/a/b` below it.
fn relative(point: &Path, full: &Path) -> Option<String> {
    let rest = full.strip_prefix(point).ok()?.to_string_lossy();
    // What has just been removed reads as `PATH (deleted)` or `PATH//deleted`.
    if rest.ends_with(" (deleted)") || rest.ends_with("//deleted") {
        return None;
    }
    Some(format!("/{rest}"))
}

/// The cgroup2 mount that shows most: one of the root where there are several.
fn find_mount(mountinfo: &str) -> Option<Mounted> {
    let mut found = mounts::of_type(mountinfo, "cgroup2");
    found.sort_by_key(|mount| mount.root != Path::new("/"));
    found
        .into_iter()
        .find_map(|mount| Some(Mounted { dir: File::open(&mount.point).ok()?, point: mount.point }))
}

/// Needs CAP_DAC_READ_SEARCH.
fn open_by_id(dir: &File, id: u64) -> io::Result<OwnedFd> {
    let mut handle = Handle { bytes: 8, kind: FILEID_KERNFS, id: id.to_ne_bytes() };
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    // SAFETY: the handle is laid out as struct file_handle with `bytes` bytes behind its head, and outlives
    // the call; the descriptor of `dir` is open.
    let result = unsafe {
        libc::syscall(libc::SYS_open_by_handle_at, dir.as_raw_fd(), std::ptr::from_mut(&mut handle), flags)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just given this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}

/// Shows every cgroup below the mount, up to the limit.
fn walk(point: &Path, mut show: impl FnMut(u64, String)) {
    let mut left = vec![point.to_owned()];
    let mut budget = WALK_LIMIT;
    while let Some(dir) = left.pop() {
        if budget == 0 {
            return;
        }
        budget -= 1;
        if let (Ok(metadata), Some(path)) = (fs::symlink_metadata(&dir), relative(point, &dir)) {
            show(metadata.ino(), path);
        }
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        left.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::skip::skip;

    #[test]
    fn paths_are_as_in_proc_pid_cgroup() {
        let point = Path::new("/sys/fs/cgroup");
        assert_eq!(relative(point, point).as_deref(), Some("/"));
        let service = "/sys/fs/cgroup/system.slice/x.service";
        assert_eq!(relative(point, Path::new(service)).as_deref(), Some("/system.slice/x.service"));
        assert_eq!(relative(point, Path::new("/elsewhere")), None);
        assert_eq!(relative(point, Path::new("/sys/fs/cgroup/x (deleted)")), None);
    }

    #[test]
    fn without_cgroup2_everything_is_unknown() {
        let mut paths = CgroupPaths::default();
        assert_eq!(paths.path(1), None);
        assert!(paths.id("/").is_err());
        assert!(find_mount("").is_none());
    }

    #[test]
    fn the_root_and_unknown_ids_of_this_host() {
        let mut paths = CgroupPaths::new();
        let root = match paths.id("/") {
            Ok(root) => root,
            Err(why) => return skip("the_root_and_unknown_ids_of_this_host", format!("{why:#}")),
        };
        assert_eq!(paths.path(root), Some("/"));
        assert_eq!(paths.path(u64::MAX / 3), None);
        assert_eq!(paths.path(0), None);
    }

    /// As root: a cgroup is found by its id through handle and walk alike, and unknown once removed.
    #[test]
    fn a_cgroup_is_found_until_it_is_gone() {
        const TEST: &str = "a_cgroup_is_found_until_it_is_gone";
        let mut paths = CgroupPaths::new();
        let Some(point) = paths.mount.as_ref().map(|mount| mount.point.clone()) else {
            return skip(TEST, "no cgroup v2 is mounted");
        };
        let name = format!("tw-trace-test-{}", std::process::id());
        let dir = point.join(&name);
        if let Err(why) = fs::create_dir(&dir) {
            return skip(TEST, format!("no cgroup can be made: {why}"));
        }
        let id = paths.id(&name).unwrap();
        let by_handle = paths.path(id).map(str::to_owned);
        let mut walked = HashMap::new();
        walk(&point, |id, path| drop(walked.insert(id, path)));
        fs::remove_dir(&dir).unwrap();
        assert_eq!(by_handle, Some(format!("/{name}")));
        assert_eq!(walked.get(&id), by_handle.as_ref());
        assert_eq!(paths.path(id), by_handle.as_deref(), "remembered");
        assert_eq!(CgroupPaths::new().path(id), None);
    }

    #[test]
    fn one_walk_a_second_is_for_all_that_wait() {
        let folder = std::env::temp_dir().join(format!("tw-walk-{}", std::process::id()));
        fs::create_dir_all(folder.join("a/b")).unwrap();
        let id = |name: &str| fs::metadata(folder.join(name)).unwrap().ino();
        let mount = Mounted { point: folder.clone(), dir: File::open(&folder).unwrap() };
        let mut paths = CgroupPaths { mount: Some(mount), ..CgroupPaths::default() };
        let began = Instant::now();
        paths.waiting = HashSet::from([id("a"), id("a/b"), u64::MAX]);
        paths.resolve_waiting(began);
        assert_eq!(paths.cache.get(id("a")).flatten(), Some("/a"));
        assert_eq!(paths.cache.get(id("a/b")).flatten(), Some("/a/b"));
        assert_eq!(paths.cache.get(u64::MAX), Some(None));
        // Another one comes: it waits, however often it is asked for, and then gets its walk.
        fs::create_dir(folder.join("c")).unwrap();
        let walked = paths.walked.unwrap();
        paths.waiting.insert(id("c"));
        paths.resolve_waiting(walked + WALK_PAUSE / 2);
        assert_eq!((paths.cache.get(id("c")), paths.walked), (None, Some(walked)));
        paths.resolve_waiting(walked + WALK_PAUSE);
        assert_eq!(paths.cache.get(id("c")).flatten(), Some("/c"));
        fs::remove_dir_all(&folder).unwrap();
    }
}

//! Finds the network namespaces of this host without keeping any open: by names, mounts, processes, their threads and their
//! open files.
//!
//! Not found are namespaces that only sockets keep alive.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Netns, Unlooked};
use crate::kernel::mounts;

/// Where ip-netns(8) keeps named namespaces.
const NAMED: &str = "/run/netns";
/// So long may a search take; what was not looked at by then is counted. A process takes 8 µs, a thread 10 µs, a descriptor
/// 4 µs (a VM of 2026).
const SEARCH: Duration = Duration::from_millis(300);
/// The same for one namespace that a run is about: it ends when that is found.
const SEARCH_FOR_ONE: Duration = Duration::from_secs(5);
/// Links of /proc/PID/task with one thread: itself, its parent and the thread (`proc_task_getattr`, 5.10 – 7.3).
const ONE_THREAD: u64 = 3;

/// Where a namespace was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub inode: u32,
    pub(super) path: PathBuf,
}

impl Place {
    /// Opens the namespace; an error of the kind `NotFound` if it is not there any more.
    pub fn open(&self) -> io::Result<Netns> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let netns = Netns::open(&self.path).map_err(|error| match error.raw_os_error() {
            // The process has ended (ESRCH), or its descriptor is another file by now.
            Some(libc::ESRCH) => gone(),
            None if error.kind() == io::ErrorKind::InvalidInput => gone(),
            _ => error,
        })?;
        if netns.inode == self.inode { Ok(netns) } else { Err(gone()) }
    }
}

/// The namespaces found, by inode, and what was not looked at.
#[derive(Debug, Default)]
pub struct Found {
    pub places: BTreeMap<u32, Place>,
    pub unlooked: Unlooked,
}

/// All network namespaces that a name, a mount, a process, a thread or an open file holds.
pub fn find() -> Found {
    search(None, SEARCH)
}

/// The one with this inode alone, and what was not looked at if it is not found.
pub fn find_only(inode: u32) -> Found {
    let mut found = search(Some(inode), SEARCH_FOR_ONE);
    match found.places.remove(&inode) {
        Some(place) => Found { places: BTreeMap::from([(inode, place)]), unlooked: Unlooked::default() },
        None => Found { places: BTreeMap::new(), ..found },
    }
}

fn search(wanted: Option<u32>, time: Duration) -> Found {
    let mut search = Search { found: Found::default(), wanted, until: Instant::now() + time };
    search.names();
    search.processes();
    search.found
}

/// The inodes of [`find`]; `None` if the search did not come to its end.
pub fn inodes() -> Option<BTreeSet<u64>> {
    let Found { places, unlooked } = find();
    (unlooked.late == 0 && unlooked.failed.is_none()).then(|| places.into_keys().map(u64::from).collect())
}

/// The one with this inode, opened, if it is found.
pub fn find_one(inode: u32) -> Option<Netns> {
    find_only(inode).places.get(&inode)?.open().ok()
}

struct Search {
    found: Found,
    /// Nothing else is looked for once this is found.
    wanted: Option<u32>,
    until: Instant,
}

impl Search {
    fn add(&mut self, inode: u32, path: impl FnOnce() -> PathBuf) {
        self.found.places.entry(inode).or_insert_with(|| Place { inode, path: path() });
    }

    /// Names and mounts, which win over processes: they stay.
    fn names(&mut self) {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        self.found.unlooked.hidden = hides_processes(&mountinfo);
        let mounted = mounts::of_type(&mountinfo, "nsfs").into_iter();
        let mounted = mounted.filter(|mount| inode_of(&mount.root).is_some()).map(|mount| mount.point);
        for path in named_paths().into_iter().chain(mounted) {
            match Netns::open(&path) {
                Ok(netns) => self.add(netns.inode, || path),
                Err(error) => self.found.unlooked.take_note(&error),
            }
        }
        // Without /proc there is nothing to be found, which is noted below.
        let _own = self.link(PathBuf::from("/proc/self/ns/net"));
    }

    /// Each process by its leader; then the threads and the open files of all, for few have a namespace that is not known
    /// by then.
    fn processes(&mut self) {
        let mut processes = self.entries(Path::new("/proc"));
        processes.retain(|process| {
            process.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
        });
        // Who hides the leader's hides the others as well, and is counted once.
        let shown = self.each(processes, |search, process| search.link(process.join("ns/net")));
        let shown = self.each(shown, |search, process| search.threads(&process.join("task")));
        // Those that we hold open ourselves are of no interest.
        let own = fs::read_link("/proc/self").ok();
        self.each(shown, |search, process| {
            match process.file_name() == own.as_ref().map(|own| own.as_os_str()) {
                true => Ok(()),
                false => search.descriptors(&process.join("fd")),
            }
        });
    }

    /// Looks at these while there is time; returns those that could be looked at.
    fn each(
        &mut self,
        processes: Vec<PathBuf>,
        look: impl Fn(&mut Self, &Path) -> io::Result<()>,
    ) -> Vec<PathBuf> {
        let mut shown = Vec::with_capacity(processes.len());
        for process in processes {
            if self.wanted.is_some_and(|inode| self.found.places.contains_key(&inode)) {
                break;
            }
            if Instant::now() >= self.until {
                self.found.unlooked.late += 1;
                continue;
            }
            match look(self, &process) {
                Ok(()) => shown.push(process),
                Err(error) => self.found.unlooked.take_note(&error),
            }
        }
        shown
    }

    /// Adds the namespace that this link of /proc leads to, if it leads to one.
    fn link(&mut self, path: PathBuf) -> io::Result<()> {
        if let Some(inode) = inode_of(&fs::read_link(&path)?) {
            self.add(inode, || path);
        }
        Ok(())
    }

    fn threads(&mut self, tasks: &Path) -> io::Result<()> {
        if fs::metadata(tasks)?.nlink() > ONE_THREAD {
            for thread in fs::read_dir(tasks)?.flatten() {
                // One that has ended is none.
                let _ended = self.link(thread.path().join("ns/net"));
            }
        }
        Ok(())
    }

    fn descriptors(&mut self, folder: &Path) -> io::Result<()> {
        for descriptor in fs::read_dir(folder)?.flatten() {
            let _closed = self.link(descriptor.path());
        }
        Ok(())
    }

    /// The paths in a folder; none if it cannot be read, which is noted.
    fn entries(&mut self, folder: &Path) -> Vec<PathBuf> {
        match fs::read_dir(folder) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(error) => {
                self.found.unlooked.take_note(&error);
                Vec::new()
            }
        }
    }
}

/// Of `net:[INODE]`.
fn inode_of(link: &Path) -> Option<u32> {
    let digits = link.as_os_str().as_encoded_bytes().strip_prefix(b"net:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Whether /proc is mounted so that it lists only processes that the caller may trace (proc(5): `hidepid`), and the caller
/// may not trace all.
fn hides_processes(mountinfo: &str) -> bool {
    let hides = |option: &str| {
        matches!(option, "hidepid=2" | "hidepid=4" | "hidepid=invisible" | "hidepid=ptraceable")
    };
    let proc = mountinfo.lines().rfind(|line| line.split(' ').nth(4) == Some("/proc"));
    proc.is_some_and(|line| line.split([' ', ',']).any(hides)) && fs::read_link("/proc/1/ns/net").is_err()
}

fn named_paths() -> Vec<PathBuf> {
    fs::read_dir(NAMED).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_to_network_namespaces_have_an_inode() {
        assert_eq!(inode_of(Path::new("net:[4026531840]")), Some(4_026_531_840));
        for other in ["mnt:[4026531840]", "net:[]", "net:[1", "socket:[7]", "/dev/null", ""] {
            assert_eq!(inode_of(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn a_proc_that_lists_all_hides_nothing() {
        let line = |options: &str| format!("22 1 0:5 / /proc rw,nosuid - proc proc rw{options}");
        assert!(!hides_processes(&line("")));
        assert!(!hides_processes(&line(",hidepid=1")));
        assert!(!hides_processes(&line(",hidepid=noaccess")));
        assert!(!hides_processes(""));
    }
}

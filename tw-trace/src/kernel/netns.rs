//! The network namespaces of this host: found, named on the command line, entered for a moment.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt as _};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

mod counters;
mod find;
mod unlooked;
mod visit;

pub use counters::{Counters, Sysctls};
pub use find::{Found, Place, find, find_one, find_only, inodes};
pub use unlooked::Unlooked;
pub use visit::{Budget, Unvisited, Visited, visit};

/// Where ip-netns(8) keeps named namespaces.
const NAMED: &str = "/run/netns";
/// The option that tells a socket's namespace (socket(7), 5.14).
const SO_NETNS_COOKIE: libc::c_int = 71;
/// The ioctl that tells a namespace file's type (ioctl_ns(2), 4.11).
const NS_GET_NSTYPE: libc::c_ulong = 0xb703;

/// One network namespace, kept alive as long as this is.
#[derive(Debug)]
pub struct Netns {
    /// `net.ns.inum`, as in `ls -l /proc/PID/ns/net`.
    pub inode: u32,
    file: File,
}

impl Netns {
    /// Opens the namespace that this path names, without waiting: others may have put a FIFO or a device there.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open_without_waiting(path)?;
        // SAFETY: NS_GET_NSTYPE takes no argument; on a file that is no namespace it fails with ENOTTY.
        let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE as _) };
        if kind != libc::CLONE_NEWNET {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a network namespace"));
        }
        let inode = file.metadata()?.ino() as u32;
        Ok(Self { inode, file })
    }

    /// The namespace of the calling thread.
    pub fn current() -> io::Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }
}

/// Opens a file of nsfs and nothing else: opening a FIFO or a device would wait, or do something to the device.
fn open_without_waiting(path: &Path) -> io::Result<File> {
    // A descriptor that only names the file: the file's own code does not run.
    let named = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
    if fstatfs(&named)?.filesystem_type() != NSFS_MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a network namespace"));
    }
    let same = format!("/proc/self/fd/{}", named.as_raw_fd());
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(same)
}

/// The cookie of the namespace that the calling thread is in: never used again, unlike an inode.
/// `None` before Linux 5.14 (SO_NETNS_COOKIE).
pub fn cookie() -> Option<u64> {
    let socket = datagram_socket()?;
    let mut cookie = 0u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    // The low half, as the kernel side has it: cookies are handed out one after the other.
    (failed == 0).then_some(cookie & u64::from(u32::MAX))
}

/// Bound to nothing: a socket of either family knows its namespace.
fn datagram_socket() -> Option<OwnedFd> {
    [AddressFamily::Inet, AddressFamily::Inet6]
        .into_iter()
        .find_map(|family| socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).ok())
}

/// The inode that `--netns INODE|NAME|PATH` means.
pub fn resolve(spec: &str) -> Result<u32> {
    let number = spec.strip_prefix("net:[").and_then(|rest| rest.strip_suffix(']')).unwrap_or(spec);
    if let Ok(inode) = number.parse::<u32>() {
        let named = Path::new(NAMED).join(spec);
        return if named.exists() { open_spec(&named, spec) } else { resolve_inode(inode) };
    }
    if spec.contains('/') {
        return open_spec(Path::new(spec), spec);
    }
    if spec.is_empty() || spec == "." || spec == ".." {
        bail!("network namespace {spec:?}: give an inode, a name of `ip netns` or a path");
    }
    open_spec(&Path::new(NAMED).join(spec), spec)
}

fn open_spec(path: &Path, spec: &str) -> Result<u32> {
    match Netns::open(path) {
        Ok(namespace) => Ok(namespace.inode),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !spec.contains('/') => {
            bail!("no network namespace named {spec}: {} does not exist; see `ip netns list`", path.display())
        }
        Err(error) => {
            Err(error).with_context(|| format!("network namespace {spec}: cannot use {}", path.display()))
        }
    }
}

fn resolve_inode(inode: u32) -> Result<u32> {
    let Found { places, unlooked } = find_only(inode);
    if places.contains_key(&inode) {
        return Ok(inode);
    }
    let known: Vec<String> = find().places.keys().map(u32::to_string).collect();
    let untold = match unlooked.refused + unlooked.late {
        0 => String::new(),
        untold => {
            format!(", and those of {untold} processes that would not tell, or that there was no time for")
        }
    };
    bail!(
        "no network namespace with inode {inode} was found on this host; there are {}{untold}",
        known.join(", ")
    )
}

/// Runs `task` inside the namespace, on a thread of its own unless it is the caller's namespace already.
///
/// Needs CAP_SYS_ADMIN for any other namespace.
pub fn run_in<T: Send>(namespace: &Netns, task: impl FnOnce() -> T + Send) -> Result<T> {
    if Netns::current().is_ok_and(|current| current.inode == namespace.inode) {
        return Ok(task());
    }
    let inode = namespace.inode;
    let enter_and_run = || -> Result<T> {
        setns(&namespace.file, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter network namespace {inode} (CAP_SYS_ADMIN is needed)"))?;
        Ok(task())
    };
    thread::scope(|scope| {
        thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, enter_and_run)
            .context("cannot start a thread")?
            .join()
            .map_err(|_| anyhow!("the thread in network namespace {inode} panicked"))?
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::skip::skip;

    #[test]
    fn the_own_namespace_is_among_those_found() {
        let current = Netns::current().unwrap();
        assert!(find().places.contains_key(&current.inode));
        assert_eq!(resolve(&current.inode.to_string()).unwrap(), current.inode);
        assert_eq!(resolve(&format!("net:[{}]", current.inode)).unwrap(), current.inode);
        assert_eq!(resolve("/proc/self/ns/net").unwrap(), current.inode);
        assert_eq!(run_in(&current, || 7).unwrap(), 7);
    }

    #[test]
    fn what_is_no_namespace_is_refused_clearly() {
        let error = |spec: &str| format!("{:#}", resolve(spec).unwrap_err());
        assert!(error("surely_not_there").contains("no network namespace named surely_not_there"));
        assert!(error("/proc/self/ns/mnt").contains("not a network namespace"));
        assert!(error("/proc/self/status").contains("not a network namespace"));
        assert!(error("/dev/zero").contains("not a network namespace"));
        assert!(error("/surely/not/there").contains("No such file"));
        assert!(error("").contains("give an inode"));
        assert!(error("1").contains("no network namespace with inode 1"));
    }

    #[test]
    fn a_fifo_is_no_namespace_and_nobody_waits_for_its_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(
            format!("{:#}", resolve(path.to_str().unwrap()).unwrap_err()).contains("not a network namespace")
        );
    }

    /// /proc/sys/net and /proc/thread-self/net follow the thread that opens them: as root, in a fresh namespace.
    #[test]
    fn a_thread_in_another_namespace_reads_that_ones_settings() {
        let outside = Netns::current().unwrap();
        let inside = thread::spawn(|| {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET)?;
            fs::write("/proc/sys/net/ipv4/tcp_fin_timeout", "17")?;
            Netns::current()
        });
        let inside = match inside.join().unwrap() {
            Ok(inside) => inside,
            Err(why) => {
                return skip("a_thread_in_another_namespace_reads_that_ones_settings", format!("{why:#}"));
            }
        };
        assert_ne!(inside.inode, outside.inode);
        let sysctls = run_in(&inside, Sysctls::read).unwrap();
        assert_eq!(sysctls.number("tcp_fin_timeout"), Some(17));
        assert_ne!(Sysctls::read().number("tcp_fin_timeout"), Some(17));
        let counters = run_in(&inside, Counters::read).unwrap().unwrap();
        assert_eq!((counters.tcp_ext["TW"], counters.tw), (0, 0));
        assert_eq!(run_in(&inside, || Netns::current().unwrap().inode).unwrap(), inside.inode);
    }
}

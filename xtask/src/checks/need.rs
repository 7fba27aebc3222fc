//! What a check needs of the kernel, found by looking for it: never by the kernel's version.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::Path;

/// Something that not every kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A CPU 1 that can be taken offline.
    Hotplug,
    /// Multipath TCP, switched on (5.6 and CONFIG_MPTCP).
    Mptcp,
    /// DCCP (CONFIG_IP_DCCP, up to 6.15), its module loaded.
    Dccp,
    /// Time namespaces (5.6 and CONFIG_TIME_NS).
    TimeNamespace,
    /// Pid namespaces (CONFIG_PID_NS).
    PidNamespace,
}

impl Need {
    /// Why it cannot be had here, if so.
    pub(super) fn lacking(&self) -> Option<String> {
        let (is_here, lacking) = match self {
            Self::Hotplug => (
                fs::read_to_string(super::hotplug::ONLINE).is_ok_and(|is| is.trim() == "1"),
                "there is no CPU 1 that can be taken offline",
            ),
            Self::Mptcp => (mptcp().is_ok(), "this kernel has no MPTCP, or it is off"),
            Self::Dccp => (dccp().is_ok(), "this kernel has no DCCP, or its module is not loaded"),
            Self::TimeNamespace => {
                (Path::new("/proc/self/ns/time").exists(), "this kernel has no time namespaces")
            }
            Self::PidNamespace => {
                (Path::new("/proc/self/ns/pid").exists(), "this kernel has no pid namespaces")
            }
        };
        (!is_here).then(|| lacking.to_owned())
    }
}

/// An MPTCP socket.
pub(super) fn mptcp() -> io::Result<OwnedFd> {
    const IPPROTO_MPTCP: libc::c_int = 262;
    open(libc::SOCK_STREAM, IPPROTO_MPTCP)
}

/// A DCCP socket. Where the module is there and may be, the kernel loads it.
pub(super) fn dccp() -> io::Result<OwnedFd> {
    const SOCK_DCCP: libc::c_int = 6;
    open(SOCK_DCCP, libc::IPPROTO_DCCP)
}

fn open(kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: socket() takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, kind | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

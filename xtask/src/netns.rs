//! Network namespaces of our own: made, furnished and named by inode, without the `ip` binary.

use std::fs;
use std::fs::File;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// The settings a fresh namespace gets: room for a million TIME_WAIT sockets, and nearly all ports.
///
/// Listeners use ports below the range, so no connect() takes a listener's port.
const FURNITURE: &[(&str, &str)] = &[
    ("net/ipv4/ip_local_port_range", "10000 65535"),
    ("net/ipv4/tcp_max_tw_buckets", "2000000"),
    ("net/ipv4/tcp_max_syn_backlog", "65535"),
    ("net/core/somaxconn", "65535"),
];

/// Moves the calling thread into a new network namespace with `lo` up, and tells its inode.
pub fn enter_new() -> Result<u32> {
    unshare(CloneFlags::CLONE_NEWNET)
        .context("cannot make a network namespace: that needs CAP_SYS_ADMIN (run as root)")?;
    set_up("lo")?;
    for (key, value) in FURNITURE {
        sysctl(key, value)?;
    }
    inode()
}

/// Has the packets of the namespace's `lo` taken up in softirqs of all CPUs (receive packet steering), which interrupt
/// whatever runs there. Leaves the calling thread in a mount namespace of its own, where /sys is that of the namespace.
pub fn steer_packets() -> Result<()> {
    const STEERED: &str = "/sys/class/net/lo/queues/rx-0/rps_cpus";
    let cpus = thread::available_parallelism().context("how many CPUs there are")?.get().min(32);
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("making mounts private")?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>).context("mounting /sys")?;
    fs::write(STEERED, format!("{:x}", (1_u64 << cpus) - 1)).with_context(|| format!("writing to {STEERED}"))
}

/// The inode of the calling thread's network namespace, as `ls -l /proc/PID/ns/net` shows it.
pub fn inode() -> Result<u32> {
    let meta = fs::metadata("/proc/thread-self/ns/net").context("cannot read /proc/thread-self/ns/net")?;
    u32::try_from(meta.ino()).context("the network namespace's inode has more than 32 bits")
}

/// Sets a sysctl; keys below `net/` are those of the calling thread's network namespace.
pub fn sysctl(key: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{key}");
    fs::write(&path, value).with_context(|| format!("cannot write {value} to {path}"))
}

/// Reads a sysctl.
pub fn read_sysctl(key: &str) -> Result<String> {
    let path = format!("/proc/sys/{key}");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.trim().to_owned())
}

/// Runs `work` on a thread of its own, named `name`, in a new network namespace that ends with it.
pub fn in_new_netns<T: Send>(name: &str, work: impl FnOnce(u32) -> Result<T> + Send) -> Result<T> {
    on_thread(name, || work(enter_new()?))
}

/// Runs `work` on a thread of its own inside the network namespace of process `pid`.
pub fn in_netns_of<T: Send>(pid: u32, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    on_thread("netns-visitor", || {
        let path = format!("/proc/{pid}/ns/net");
        let namespace = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        setns(&namespace, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {path}"))?;
        drop(namespace);
        work()
    })
}

/// A namespace is a thread's property: on a thread that ends with the work nobody else is affected.
fn on_thread<T: Send>(name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let handle = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work)?;
        handle.join().map_err(|_| anyhow!("the thread {name} panicked"))?
    })
}

/// Brings the network device `name` of the calling thread's namespace up.
pub fn set_up(name: &str) -> Result<()> {
    let control = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which lives until the call returns.
    let status =
        unsafe { libc::ioctl(control.as_raw_fd(), libc::SIOCSIFFLAGS as libc::Ioctl, &raw mut request) };
    if status != 0 {
        return Err(std::io::Error::last_os_error()).with_context(|| format!("cannot bring {name} up"));
    }
    Ok(())
}

/// An empty interface request that names a device.
pub(crate) fn interface_request(name: &str) -> Result<libc::ifreq> {
    // SAFETY: `ifreq` is plain old data, all zeroes is a valid one.
    let mut request: libc::ifreq = unsafe { zeroed() };
    if name.len() >= request.ifr_name.len() {
        bail!("the device name {name} is too long");
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_must_fit() {
        assert!(interface_request("lo").is_ok());
        assert!(interface_request("a-device-name-too-long").is_err());
    }
}

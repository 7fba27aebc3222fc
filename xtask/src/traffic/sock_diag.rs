//! The kernel's own list of its sockets (sock_diag): what `ss` shows, and what `ss -K` does.

use std::io::Error;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, bail};

use super::scene::Lacking;

/// linux/sock_diag.h; not in the libc crate.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NETLINK_SOCK_DIAG: i32 = 4;

/// `struct inet_diag_req_v2` behind its netlink header (linux/inet_diag.h): ports and addresses in network order.
#[derive(Clone, Copy)]
#[repr(C)]
struct Request {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    sender: u32,
    family: u8,
    protocol: u8,
    extensions: u8,
    pad: u8,
    states: u32,
    local_port: [u8; 2],
    remote_port: [u8; 2],
    local: [u8; 16],
    remote: [u8; 16],
    interface: u32,
    cookie: [u32; 2],
}

/// `struct inet_diag_msg`: where its fields lie (linux/inet_diag.h), behind 16 bytes of netlink header.
mod message {
    pub(super) const LENGTH: usize = 72;
    pub(super) const FAMILY: usize = 0;
    pub(super) const STATE: usize = 1;
    pub(super) const TIMER: usize = 2;
    pub(super) const LOCAL_PORT: usize = 4;
    pub(super) const REMOTE_PORT: usize = 6;
    pub(super) const LOCAL: usize = 8;
    pub(super) const REMOTE: usize = 24;
    pub(super) const INTERFACE: usize = 40;
    pub(super) const EXPIRES_MS: usize = 52;
}
const HEADER: usize = 16;
/// `idiag_timer` of a time-wait socket.
const TIME_WAIT_TIMER: u8 = 3;
const FIN_WAIT2: u8 = 5;
const TIME_WAIT: u8 = 6;

/// A time-wait socket as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeWait {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Index of the interface that it is bound to, zero where to none.
    pub ifindex: u32,
    /// As tw-trace prints it.
    pub substate: &'static str,
    /// Until its timer's `expires`, without what the timer wheel adds.
    pub expires_ms: u32,
}

/// Ends the TCP socket with these ends in the calling thread's network namespace.
pub fn destroy(local: SocketAddr, remote: SocketAddr) -> Result<()> {
    let diag = open()?;
    let mut request = Request::new(SOCK_DESTROY, libc::NLM_F_ACK, family_of(local));
    request.local_port = local.port().to_be_bytes();
    request.remote_port = remote.port().to_be_bytes();
    request.local = octets(local.ip());
    request.remote = octets(remote.ip());
    request.send(&diag)?;
    let reply = receive(&diag)?;
    match error_code(&reply).context("sock_diag gave no answer")? {
        0 => Ok(()),
        code => Err(Error::from_raw_os_error(-code))
            .with_context(|| format!("SOCK_DESTROY of {local} → {remote} (kernel option INET_DIAG_DESTROY)")),
    }
}

/// The same of a time-wait socket, which not every kernel can end.
pub(super) fn kill_time_wait(local: SocketAddr, remote: SocketAddr) -> Result<()> {
    destroy(local, remote).map_err(|error| {
        let code = error.downcast_ref::<Error>().and_then(Error::raw_os_error);
        if code == Some(libc::EOPNOTSUPP) {
            return Lacking("this kernel cannot end a time-wait socket by SOCK_DESTROY (6.1)".to_owned())
                .into();
        }
        error
    })
}

/// The time-wait sockets of the calling thread's network namespace, both substates.
pub fn time_waits() -> Result<Vec<TimeWait>> {
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let diag = open()?;
        let mut request = Request::new(SOCK_DIAG_BY_FAMILY, libc::NLM_F_DUMP, family);
        request.states = 1 << FIN_WAIT2 | 1 << TIME_WAIT;
        request.send(&diag)?;
        while collect(&receive(&diag)?, &mut found)? == More::ToCome {}
    }
    Ok(found)
}

#[derive(PartialEq, Eq)]
enum More {
    ToCome,
    No,
}

/// Takes the sockets out of one reply of a dump.
fn collect(reply: &[u8], found: &mut Vec<TimeWait>) -> Result<More> {
    let mut rest = reply;
    while rest.len() >= HEADER {
        let length = u32::from_ne_bytes(bytes_at(rest, 0)) as usize;
        let kind = i32::from(u16::from_ne_bytes(bytes_at(rest, 4)));
        if kind == libc::NLMSG_DONE {
            return Ok(More::No);
        }
        if kind == libc::NLMSG_ERROR {
            let code = error_code(rest).unwrap_or(0);
            return Err(Error::from_raw_os_error(-code)).context("listing sockets (kernel module tcp_diag)");
        }
        if length < HEADER + message::LENGTH || length > rest.len() {
            bail!("sock_diag sent a message of {length} bytes");
        }
        found.extend(time_wait(&rest[HEADER..length])?);
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
    }
    Ok(More::ToCome)
}

/// A time-wait socket, if it is one: full sockets can be in FIN_WAIT2 too.
fn time_wait(message: &[u8]) -> Result<Option<TimeWait>> {
    if message[message::TIMER] != TIME_WAIT_TIMER {
        return Ok(None);
    }
    let substate = match message[message::STATE] {
        FIN_WAIT2 => "FIN_WAIT2",
        TIME_WAIT => "TIME_WAIT",
        other => bail!("a time-wait socket in state {other}"),
    };
    let end = |address: usize, port: usize| {
        let ip = if i32::from(message[message::FAMILY]) == libc::AF_INET {
            IpAddr::from(bytes_at::<4>(message, address))
        } else {
            IpAddr::from(bytes_at::<16>(message, address))
        };
        SocketAddr::new(ip, u16::from_be_bytes(bytes_at(message, port)))
    };
    Ok(Some(TimeWait {
        local: end(message::LOCAL, message::LOCAL_PORT),
        remote: end(message::REMOTE, message::REMOTE_PORT),
        ifindex: u32::from_ne_bytes(bytes_at(message, message::INTERFACE)),
        substate,
        expires_ms: u32::from_ne_bytes(bytes_at(message, message::EXPIRES_MS)),
    }))
}

fn open() -> Result<OwnedFd> {
    // SAFETY: a plain system call without pointers.
    let raw =
        unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, NETLINK_SOCK_DIAG) };
    if raw < 0 {
        return Err(Error::last_os_error()).context("cannot open a sock_diag socket");
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn receive(diag: &OwnedFd) -> Result<Vec<u8>> {
    let mut reply = vec![0u8; 1 << 16];
    // SAFETY: the buffer is writable for its whole length.
    let got = unsafe { libc::recv(diag.as_raw_fd(), reply.as_mut_ptr().cast(), reply.len(), 0) };
    reply.truncate(usize::try_from(got).map_err(|_| Error::last_os_error()).context("sock_diag")?);
    Ok(reply)
}

/// The error code of an acknowledgement: zero or a negative errno, behind the header.
fn error_code(reply: &[u8]) -> Option<i32> {
    (reply.len() >= HEADER + 4).then(|| i32::from_ne_bytes(bytes_at(reply, HEADER)))
}

/// The caller has looked that they are there.
fn bytes_at<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|index| from[at + index])
}

impl Request {
    /// About every socket of this family.
    fn new(kind: u16, flags: i32, family: i32) -> Self {
        Self {
            length: size_of::<Self>() as u32,
            kind,
            flags: (libc::NLM_F_REQUEST | flags) as u16,
            sequence: 1,
            sender: 0,
            family: family as u8,
            protocol: libc::IPPROTO_TCP as u8,
            extensions: 0,
            pad: 0,
            states: u32::MAX,
            local_port: [0; 2],
            remote_port: [0; 2],
            local: [0; 16],
            remote: [0; 16],
            interface: 0,
            cookie: [u32::MAX; 2],
        }
    }

    fn send(&self, diag: &OwnedFd) -> Result<()> {
        // SAFETY: `self` is `repr(C)` without padding and lives until the call returns.
        let sent = unsafe { libc::send(diag.as_raw_fd(), (&raw const *self).cast(), size_of::<Self>(), 0) };
        if sent != size_of::<Self>() as isize {
            return Err(Error::last_os_error()).context("cannot send to sock_diag");
        }
        Ok(())
    }
}

fn family_of(address: SocketAddr) -> i32 {
    if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

/// IPv4 in the first four bytes, as the kernel reads it.
fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(ip) => {
            let mut all = [0; 16];
            all[..4].copy_from_slice(&ip.octets());
            all
        }
    }
}

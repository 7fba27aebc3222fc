//! SOCK_DESTROY through sock_diag: what `ss -K` does, for one connection.

use std::io::Error;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, bail};

/// linux/sock_diag.h; not in the libc crate.
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

/// Ends the TCP socket with these ends in the calling thread's network namespace.
pub fn destroy(local: SocketAddr, remote: SocketAddr) -> Result<()> {
    // SAFETY: a plain system call without pointers.
    let raw =
        unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, NETLINK_SOCK_DIAG) };
    if raw < 0 {
        return Err(Error::last_os_error()).context("cannot open a sock_diag socket");
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    let diag = unsafe { OwnedFd::from_raw_fd(raw) };
    let request = request(local, remote);
    // SAFETY: `request` is `repr(C)` without padding and lives until the call returns.
    let sent = unsafe { libc::send(diag.as_raw_fd(), (&raw const request).cast(), size_of::<Request>(), 0) };
    if sent != size_of::<Request>() as isize {
        return Err(Error::last_os_error()).context("cannot send to sock_diag");
    }
    match answer(&diag)? {
        0 => Ok(()),
        code => Err(Error::from_raw_os_error(-code))
            .with_context(|| format!("SOCK_DESTROY of {local} → {remote} (kernel option INET_DIAG_DESTROY)")),
    }
}

/// The error code of the acknowledgement: zero or a negative errno, behind the 16 bytes of header.
fn answer(diag: &OwnedFd) -> Result<i32> {
    let mut reply = [0u8; 256];
    // SAFETY: the buffer is writable for its whole length.
    let got = unsafe { libc::recv(diag.as_raw_fd(), reply.as_mut_ptr().cast(), reply.len(), 0) };
    if got < 20 {
        bail!("sock_diag gave no answer");
    }
    Ok(i32::from_ne_bytes([reply[16], reply[17], reply[18], reply[19]]))
}

fn request(local: SocketAddr, remote: SocketAddr) -> Request {
    Request {
        length: size_of::<Request>() as u32,
        kind: SOCK_DESTROY,
        flags: (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16,
        sequence: 1,
        sender: 0,
        family: if local.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 },
        protocol: libc::IPPROTO_TCP as u8,
        extensions: 0,
        pad: 0,
        states: u32::MAX,
        local_port: local.port().to_be_bytes(),
        remote_port: remote.port().to_be_bytes(),
        local: octets(local.ip()),
        remote: octets(remote.ip()),
        interface: 0,
        cookie: [u32::MAX; 2],
    }
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

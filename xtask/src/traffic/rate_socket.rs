//! The rate generator's sockets: one system call each, no allocation, closed on drop.

use std::io::{Error, Result};
use std::mem::{size_of, zeroed};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A listening socket on one port of every loopback address.
pub(super) struct Listener(OwnedFd);

/// One end of a connection.
pub(super) struct Stream(OwnedFd);

impl Listener {
    pub(super) fn open(port: u16) -> Result<Self> {
        let fd = tcp_socket()?;
        let on: libc::c_int = 1;
        // SAFETY: the option's value is one `c_int`, which lives until the call returns.
        checked(unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_REUSEADDR,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        })?;
        let at = address(Ipv4Addr::UNSPECIFIED, port);
        // SAFETY: `at` is an IPv4 socket address of the length that is passed.
        checked(unsafe { libc::bind(fd.as_raw_fd(), (&raw const at).cast(), ADDRESS_LENGTH) })?;
        // SAFETY: a plain system call without pointers.
        checked(unsafe { libc::listen(fd.as_raw_fd(), 65_535) })?;
        Ok(Self(fd))
    }

    /// The next connection; none once [`Self::stop`] was called.
    pub(super) fn accept(&self) -> Result<Option<Stream>> {
        // SAFETY: null pointers: the peer's address is not wanted.
        let fd = checked(unsafe {
            libc::accept4(self.0.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC)
        });
        match fd {
            // SAFETY: the descriptor was just made and belongs to nobody else.
            Ok(fd) => Ok(Some(Stream(unsafe { OwnedFd::from_raw_fd(fd) }))),
            // What accept(2) says of a socket that does not listen.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends listening, for those too who wait in [`Self::accept`].
    pub(super) fn stop(&self) -> Result<()> {
        // SAFETY: a plain system call without pointers.
        checked(unsafe { libc::shutdown(self.0.as_raw_fd(), libc::SHUT_RD) }).map(drop)
    }
}

impl Stream {
    pub(super) fn connect(ip: Ipv4Addr, port: u16) -> Result<Self> {
        let fd = tcp_socket()?;
        let to = address(ip, port);
        // SAFETY: `to` is an IPv4 socket address of the length that is passed.
        checked(unsafe { libc::connect(fd.as_raw_fd(), (&raw const to).cast(), ADDRESS_LENGTH) })?;
        Ok(Self(fd))
    }

    pub(super) fn send(&self, byte: u8) -> Result<()> {
        // SAFETY: one byte is read from a local.
        checked(unsafe {
            libc::send(self.0.as_raw_fd(), (&raw const byte).cast(), 1, libc::MSG_NOSIGNAL) as i32
        })?;
        Ok(())
    }

    /// Waits for one byte, or none: the peer's FIN.
    pub(super) fn receive(&self) -> Result<Option<u8>> {
        let mut byte = 0u8;
        // SAFETY: one byte is written into a local.
        let length = checked(unsafe { libc::recv(self.0.as_raw_fd(), (&raw mut byte).cast(), 1, 0) as i32 })?;
        Ok((length > 0).then_some(byte))
    }
}

const ADDRESS_LENGTH: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;

fn tcp_socket() -> Result<OwnedFd> {
    // SAFETY: a plain system call without pointers.
    let fd = checked(unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn address(ip: Ipv4Addr, port: u16) -> libc::sockaddr_in {
    // SAFETY: `sockaddr_in` is plain old data, all zeroes is a valid one.
    let mut address: libc::sockaddr_in = unsafe { zeroed() };
    address.sin_family = libc::AF_INET as libc::sa_family_t;
    address.sin_port = port.to_be();
    address.sin_addr.s_addr = u32::from_ne_bytes(ip.octets());
    address
}

fn checked(status: i32) -> Result<i32> {
    if status < 0 { Err(Error::last_os_error()) } else { Ok(status) }
}

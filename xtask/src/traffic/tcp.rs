//! Plain TCP connections for the scenarios: listeners, connected pairs, and who is seen closing them.

use std::fs;
use std::io::{Error, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use anyhow::{Context, Result};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};

use super::scene::Scene;

pub(crate) const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
pub(crate) const LOOPBACK6: Ipv6Addr = Ipv6Addr::LOCALHOST;

/// The names (`comm`) that the two ends close under.
pub const CLIENT_COMM: &str = "tw-client";
pub const SERVER_COMM: &str = "tw-server";

/// Both ends of one connection.
pub(crate) struct Pair {
    pub(crate) client: TcpStream,
    pub(crate) server: TcpStream,
}

impl Pair {
    /// Connects to `to` (where `listener` listens), from `from` if given, and exchanges a byte each way.
    pub(crate) fn open(listener: &TcpListener, to: SocketAddr, from: Option<SocketAddr>) -> Result<Self> {
        act_as(CLIENT_COMM)?;
        let client = connect_from(to, from)?;
        let (server, _) = listener.accept().context("accept")?;
        let mut pair = Self { client, server };
        pair.exchange()?;
        Ok(pair)
    }

    /// One request, one response.
    fn exchange(&mut self) -> Result<()> {
        let mut byte = [0];
        self.client.write_all(b"?")?;
        self.server.read_exact(&mut byte)?;
        self.server.write_all(b"!")?;
        self.client.read_exact(&mut byte)?;
        Ok(())
    }

    /// close() by the client, then by the server once it has read the end: the client ends in TIME_WAIT.
    pub(super) fn close_client_first(self, scene: &mut Scene) -> Result<()> {
        close_in_order(scene, (self.client, CLIENT_COMM), (self.server, SERVER_COMM))
    }

    /// close() by the server, then by the client: the server ends in TIME_WAIT.
    pub(super) fn close_server_first(self, scene: &mut Scene) -> Result<()> {
        close_in_order(scene, (self.server, SERVER_COMM), (self.client, CLIENT_COMM))
    }
}

fn close_in_order(scene: &mut Scene, first: (TcpStream, &str), second: (TcpStream, &str)) -> Result<()> {
    let (first, first_comm) = first;
    let (mut second, second_comm) = second;
    act_as(first_comm)?;
    let began = Instant::now();
    drop(first);
    act_as(second_comm)?;
    second.read_to_end(&mut Vec::new())?;
    drop(second);
    scene.closed_within(began.elapsed());
    Ok(())
}

/// Names the process by its first thread, as a tracer reports it, whichever thread calls this.
pub(crate) fn act_as(comm: &str) -> Result<()> {
    fs::write("/proc/self/comm", comm).context("writing /proc/self/comm")
}

/// A listener; std sets SO_REUSEADDR, so that TIME_WAIT sockets of its port do not matter.
pub(crate) fn listen(at: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(at).with_context(|| format!("cannot listen on {at}"))
}

/// A client socket from a chosen source; SO_REUSEADDR lets it take a port that TIME_WAIT still holds.
pub(crate) fn connect_from(to: SocketAddr, from: Option<SocketAddr>) -> Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if let Some(from) = from {
        bind(fd.as_raw_fd(), &SockaddrStorage::from(from)).with_context(|| format!("cannot bind {from}"))?;
    }
    connect(fd.as_raw_fd(), &SockaddrStorage::from(to)).with_context(|| format!("cannot connect to {to}"))?;
    Ok(TcpStream::from(fd))
}

/// A TCP option that is a number.
pub(crate) fn set_tcp_option(socket: &impl AsFd, option: libc::c_int, value: libc::c_int) -> Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `value`, which lives until the call returns.
    let status =
        unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, option, (&raw const value).cast(), length) };
    if status != 0 {
        return Err(Error::last_os_error()).with_context(|| format!("setting TCP option {option}"));
    }
    Ok(())
}

/// shutdown(SHUT_WR): our FIN goes out, the socket stays.
pub(crate) fn finish(stream: &TcpStream) -> Result<()> {
    stream.shutdown(Shutdown::Write).context("shutdown(SHUT_WR)")
}

/// Makes close() send an RST instead of a FIN.
pub(crate) fn reset_on_close(stream: &TcpStream) -> Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(stream, sockopt::Linger, &linger).context("SO_LINGER")
}

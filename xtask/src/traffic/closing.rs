//! The ordinary ways to close: one end first, both at once, by RST, over each address family.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

use super::mirror::{Family, Mirror};
use super::scenario::Seen;
use super::tcp::{
    CLIENT_COMM, LOOPBACK, LOOPBACK6, Pair, SERVER_COMM, act_as, finish, listen, reset_on_close,
};
use crate::netns::{read_sysctl, sysctl};

/// One end in TIME_WAIT: the client's.
pub(super) fn client_first(port: u16, count: u32) -> Result<Seen> {
    each(LOOPBACK.into(), port, count, Pair::close_client_first)
}

/// The same, spread over more than one slot of the timer wheel (from 17 on, at HZ=250 or 300).
pub(super) fn client_first_slowly(port: u16, count: u32) -> Result<Seen> {
    each(LOOPBACK.into(), port, count, |pair| {
        sleep(Duration::from_millis(120));
        pair.close_client_first()
    })
}

/// One end in TIME_WAIT: the server's, on the listening port.
pub(super) fn server_first(port: u16, count: u32) -> Result<Seen> {
    each(LOOPBACK.into(), port, count, Pair::close_server_first)
}

/// One end in TIME_WAIT: the client's.
pub(super) fn ipv6(port: u16, count: u32) -> Result<Seen> {
    each(LOOPBACK6.into(), port, count, Pair::close_client_first)
}

/// No TIME_WAIT at all: the client's close() throws the connection away.
pub(super) fn linger0(port: u16, count: u32) -> Result<Seen> {
    each(LOOPBACK.into(), port, count, |pair| {
        reset_on_close(&pair.client)?;
        act_as(CLIENT_COMM)?;
        drop(pair.client);
        act_as(SERVER_COMM)?;
        drop(pair.server);
        Ok(())
    })
}

/// TIME_WAIT is refused: every connection is counted in TCPTimeWaitOverflow.
pub(super) fn overflow(port: u16, count: u32) -> Result<Seen> {
    const LIMIT: &str = "net/ipv4/tcp_max_tw_buckets";
    let limit = read_sysctl(LIMIT)?;
    sysctl(LIMIT, "0")?;
    let result = client_first(port, count);
    sysctl(LIMIT, &limit)?;
    result
}

/// An IPv6 socket that talks IPv4: family AF_INET6, address ::ffff:127.0.0.1.
pub(super) fn v4_mapped(port: u16, count: u32) -> Result<Seen> {
    let listener = listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))?;
    let to = SocketAddr::new(LOOPBACK.to_ipv6_mapped().into(), port);
    for _ in 0..count {
        act_as(CLIENT_COMM)?;
        let fd = socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        connect(fd.as_raw_fd(), &SockaddrStorage::from(to)).context("connecting to a v4-mapped address")?;
        let (server, _) = listener.accept()?;
        Pair { client: TcpStream::from(fd), server }.close_client_first()?;
    }
    Ok(Seen::default())
}

/// Both ends in TIME_WAIT, both by way of CLOSING: the mirror holds the first FIN back until both are out.
pub(super) fn both_at_once(family: Family, port: u16, count: u32) -> Result<Seen> {
    let mirror = Mirror::open()?;
    let mut seen = Seen::default();
    for _ in 0..count {
        let pair = mirror.pair(family, port)?;
        act_as(CLIENT_COMM)?;
        finish(&pair.client)?;
        act_as(SERVER_COMM)?;
        finish(&pair.server)?;
        let fins = mirror.take()?;
        if fins.iter().filter(|packet| packet.is_fin()).count() != 2 {
            bail!("expected the two FINs on their way, got {} packets", fins.len());
        }
        for fin in &fins {
            mirror.give(fin)?;
        }
        seen.closing += u32::from(is_closing(&pair.client)?) + u32::from(is_closing(&pair.server)?);
        mirror.pump()?;
    }
    Ok(seen)
}

/// Whether TCP_INFO shows the state CLOSING (11); `tcpi_state` is the first byte.
fn is_closing(stream: &TcpStream) -> Result<bool> {
    let mut info = [0u8; 8];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `info`, and the new length into `length`.
    let status = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if status != 0 {
        return Err(std::io::Error::last_os_error()).context("TCP_INFO");
    }
    Ok(info[0] == 11)
}

/// `count` connections to `port`, one after the other, each ended by `close`.
fn each(ip: IpAddr, port: u16, count: u32, close: impl Fn(Pair) -> Result<()>) -> Result<Seen> {
    let at = SocketAddr::new(ip, port);
    let listener = listen(at)?;
    for _ in 0..count {
        close(Pair::open(&listener, at, None)?)?;
    }
    Ok(Seen::default())
}

//! The ordinary ways to close: one end first, both at once, by RST, over each address family.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

use super::await_kernel::{self, error_of};
use super::counters::tcp_ext;
use super::difference::{Difference, Rule, When};
use super::expect::{Expect, NO_TIME_WAIT, ONE};
use super::mirror::Family::{self, V4, V6};
use super::mirror::Mirror;
use super::scenario::Scenario;
use super::scene::Scene;
use super::tcp::{
    CLIENT_COMM, LOOPBACK, LOOPBACK6, Pair, SERVER_COMM, act_as, finish, listen, reset_on_close,
};
use crate::backend::Backend;
use crate::netns::{read_sysctl, sysctl};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("client_first", 8001, "the client closes first", ONE, client_first),
    Scenario::new("server_first", 8002, "the server closes first", ONE, server_first),
    Scenario::new("both_at_once", 8003, "both close at once: their FINs cross", BOTH, |scene| {
        both_at_once(scene, V4)
    }),
    Scenario::new("both_at_once6", 8004, "both close at once, IPv6", BOTH, |scene| both_at_once(scene, V6)),
    Scenario::new(
        "linger0",
        8005,
        "the client closes with SO_LINGER 0: an RST, no TIME_WAIT",
        NO_TIME_WAIT,
        linger0,
    ),
    Scenario::new("ipv6", 8006, "the client closes first, IPv6", ONE, ipv6),
    Scenario::new("v4_mapped", 8007, "the client closes first, IPv4 through IPv6 sockets", ONE, v4_mapped),
    Scenario::new(
        "overflow",
        8008,
        "the client closes first with tcp_max_tw_buckets at 0",
        Expect { overflow: 1, ..NO_TIME_WAIT },
        overflow,
    )
    .differs(NO_OVERFLOW_EVENTS),
    Scenario::new(
        "client_first_slowly",
        8025,
        "the client closes first, one every 120 ms",
        ONE,
        client_first_slowly,
    )
    .times(20),
];

/// One connection, both ends in TIME_WAIT.
const BOTH: Expect = Expect { began: 2, time_wait: 2, ..ONE };

pub(super) const NO_OVERFLOW_EVENTS: &[Difference] = &[Difference {
    when: When::Backend(Backend::Tracepoint),
    why: "trace events do not tell of a socket that was never made",
    rules: &[Rule::Missing { event: "tw_overflow", key: "event", value: "tw_overflow" }],
}];

/// One end in TIME_WAIT: the client's.
fn client_first(scene: &mut Scene) -> Result<()> {
    each(scene, LOOPBACK.into(), Pair::close_client_first)
}

/// The same, spread over more than one slot of the timer wheel (from 17 on, at HZ=250 or 300).
fn client_first_slowly(scene: &mut Scene) -> Result<()> {
    each(scene, LOOPBACK.into(), |pair, scene| {
        sleep(Duration::from_millis(120));
        pair.close_client_first(scene)
    })
}

/// One end in TIME_WAIT: the server's, on the listening port.
fn server_first(scene: &mut Scene) -> Result<()> {
    each(scene, LOOPBACK.into(), Pair::close_server_first)
}

/// One end in TIME_WAIT: the client's.
fn ipv6(scene: &mut Scene) -> Result<()> {
    each(scene, LOOPBACK6.into(), Pair::close_client_first)
}

/// No TIME_WAIT at all: the client's close() throws the connection away.
fn linger0(scene: &mut Scene) -> Result<()> {
    each(scene, LOOPBACK.into(), |pair, _| {
        reset_on_close(&pair.client)?;
        act_as(CLIENT_COMM)?;
        drop(pair.client);
        act_as(SERVER_COMM)?;
        error_of(&pair.server)?;
        drop(pair.server);
        Ok(())
    })
}

/// TIME_WAIT is refused: every connection is counted in TCPTimeWaitOverflow.
fn overflow(scene: &mut Scene) -> Result<()> {
    const LIMIT: &str = "net/ipv4/tcp_max_tw_buckets";
    const OVERFLOWS: &str = "TCPTimeWaitOverflow";
    let limit = read_sysctl(LIMIT)?;
    let before = tcp_ext(OVERFLOWS)?;
    sysctl(LIMIT, "0")?;
    // The last FIN may still be on its way when close() has returned: the limit stays until it is there.
    let result =
        client_first(scene).and_then(|()| await_kernel::counted(OVERFLOWS, before + u64::from(scene.count)));
    sysctl(LIMIT, &limit)?;
    result
}

/// An IPv6 socket that talks IPv4: family AF_INET6, address ::ffff:127.0.0.1.
fn v4_mapped(scene: &mut Scene) -> Result<()> {
    let listener = listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), scene.port))?;
    let to = SocketAddr::new(LOOPBACK.to_ipv6_mapped().into(), scene.port);
    for _ in 0..scene.count {
        act_as(CLIENT_COMM)?;
        let fd = socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        connect(fd.as_raw_fd(), &SockaddrStorage::from(to)).context("connecting to a v4-mapped address")?;
        let (server, _) = listener.accept()?;
        Pair { client: TcpStream::from(fd), server }.close_client_first(scene)?;
    }
    Ok(())
}

/// Both ends in TIME_WAIT, both by way of CLOSING: the mirror holds the first FIN back until both are out.
fn both_at_once(scene: &mut Scene, family: Family) -> Result<()> {
    let mirror = Mirror::open()?;
    for _ in 0..scene.count {
        let pair = mirror.pair(family, scene.port)?;
        act_as(CLIENT_COMM)?;
        finish(&pair.client)?;
        act_as(SERVER_COMM)?;
        finish(&pair.server)?;
        let fins = mirror.await_fins::<2>()?;
        for fin in &fins {
            mirror.give(fin)?;
        }
        scene.closing += u32::from(is_closing(&pair.client)?) + u32::from(is_closing(&pair.server)?);
        mirror.pass_on()?;
    }
    Ok(())
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

/// The scene's connections, one after the other, each ended by `close`.
fn each(scene: &mut Scene, ip: IpAddr, close: impl Fn(Pair, &mut Scene) -> Result<()>) -> Result<()> {
    let at = SocketAddr::new(ip, scene.port);
    let listener = listen(at)?;
    for _ in 0..scene.count {
        close(Pair::open(&listener, at, None)?, scene)?;
    }
    Ok(())
}

//! The peer's FIN comes late or never: full FIN_WAIT2 sockets and the mini-sockets that stand for orphaned ones.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::counters::living;
use super::rearm::PAST_ONE_GRANULE;
use super::scenario::Seen;
use super::tcp::{CLIENT_COMM, LOOPBACK, Pair, SERVER_COMM, act_as, finish, listen, reset_on_close};
use crate::netns::{read_sysctl, sysctl};

/// How long [`half_close`] keeps the full socket in FIN_WAIT2.
const HALF_CLOSED: Duration = Duration::from_millis(100);
/// How long [`then_fin_soon`] keeps the mini-socket in FIN_WAIT2, at least.
const FIN_HELD: Duration = Duration::from_millis(600);

const FIN_TIMEOUT: &str = "net/ipv4/tcp_fin_timeout";

/// The client still owns its socket: FIN_WAIT2 is a full socket, the FIN then leads straight to TIME_WAIT.
pub(super) fn half_close(port: u16, count: u32) -> Result<Seen> {
    let pairs = open_all(port, count)?;
    act_as(CLIENT_COMM)?;
    for pair in &pairs {
        finish(&pair.client)?;
    }
    sleep(HALF_CLOSED);
    act_as(SERVER_COMM)?;
    for pair in pairs {
        drop(pair.server);
        drop(pair.client);
    }
    Ok(Seen::default())
}

/// Orphaned: a FIN_WAIT2 mini-socket, whose FIN comes so much later that its timer changes its wheel slot.
pub(super) fn then_fin(port: u16, count: u32) -> Result<Seen> {
    fin_after(PAST_ONE_GRANULE, port, count)
}

/// The same, but soon: when `tcp_fin_timeout` is as long as TIME_WAIT, the timer mostly stays in its slot,
/// and no timer event tells of the change.
pub(super) fn then_fin_soon(port: u16, count: u32) -> Result<Seen> {
    fin_after(FIN_HELD, port, count)
}

fn fin_after(held: Duration, port: u16, count: u32) -> Result<Seen> {
    let servers = orphan_clients(port, count)?;
    sleep(held);
    act_as(SERVER_COMM)?;
    drop(servers);
    Ok(Seen::default())
}

/// The FIN never comes, the mini-socket lives `tcp_fin_timeout` (2 s: TcpExt counts it as TWKilled).
pub(super) fn expires(port: u16, count: u32) -> Result<Seen> {
    let timeout = read_sysctl(FIN_TIMEOUT)?;
    sysctl(FIN_TIMEOUT, "2")?;
    let before = living()?;
    let result = orphan_clients(port, count);
    sysctl(FIN_TIMEOUT, &timeout)?;
    let servers = result?;
    wait_until(Duration::from_secs(5), || Ok(living()? <= before))?;
    // Nothing is left to answer the servers but an RST.
    drop(servers);
    Ok(Seen::default())
}

/// Data behind a close(): the kernel answers with an RST and drops the mini-socket.
pub(super) fn data(port: u16, count: u32) -> Result<Seen> {
    let mut servers = orphan_clients(port, count)?;
    act_as(SERVER_COMM)?;
    for server in &mut servers {
        server.write_all(b"late")?;
    }
    Ok(Seen::default())
}

/// The peer throws the connection away: its RST ends the mini-socket.
pub(super) fn reset(port: u16, count: u32) -> Result<Seen> {
    let servers = orphan_clients(port, count)?;
    act_as(SERVER_COMM)?;
    for server in &servers {
        reset_on_close(server)?;
    }
    drop(servers);
    Ok(Seen::default())
}

/// Opens connections and closes the clients' ends; returns when all are FIN_WAIT2 mini-sockets.
///
/// That takes the server's ACK, which may be delayed by 40 ms.
fn orphan_clients(port: u16, count: u32) -> Result<Vec<TcpStream>> {
    let pairs = open_all(port, count)?;
    let before = living()?;
    act_as(CLIENT_COMM)?;
    let mut servers = Vec::with_capacity(pairs.len());
    for Pair { client, server } in pairs {
        drop(client);
        servers.push(server);
    }
    wait_until(Duration::from_secs(1), || Ok(living()? >= before + u64::from(count)))?;
    Ok(servers)
}

fn open_all(port: u16, count: u32) -> Result<Vec<Pair>> {
    let at = SocketAddr::new(LOOPBACK.into(), port);
    let listener = listen(at)?;
    (0..count).map(|_| Pair::open(&listener, at, None)).collect()
}

fn wait_until(limit: Duration, done: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !done()? {
        if Instant::now() > deadline {
            bail!("the FIN_WAIT2 mini-sockets did not do what they should within {limit:?}");
        }
        sleep(Duration::from_millis(2));
    }
    Ok(())
}

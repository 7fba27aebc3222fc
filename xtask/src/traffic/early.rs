//! The ways a TIME_WAIT ends before its time.

use std::net::{IpAddr, SocketAddr};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use super::destroy::destroy;
use super::mirror::{Family, Mirror};
use super::scenario::Seen;
use super::tcp::{LOOPBACK, LOOPBACK6, Pair, listen};

/// From Linux 6.15 connect() takes a port after `tcp_tw_reuse_delay` (1 s), before that when the second
/// (by the clock of seconds) has changed.
const REUSE_DELAY: Duration = Duration::from_millis(1_200);

/// The client reconnects from the port its own TIME_WAIT holds; `tcp_tw_reuse` 2, the default, allows it on
/// loopback. TcpExt TWRecycled counts it.
pub(super) fn reused(family: Family, port: u16, count: u32) -> Result<Seen> {
    reconnect(family, port, count, Pair::close_client_first)
}

/// The server's TIME_WAIT gets a SYN from the port it remembers, with a later timestamp, and makes way.
pub(super) fn new_syn(family: Family, port: u16, count: u32) -> Result<Seen> {
    reconnect(family, port, count, Pair::close_server_first)
}

/// Twice over the same four addresses and ports.
fn reconnect(family: Family, port: u16, count: u32, close: fn(Pair) -> Result<()>) -> Result<Seen> {
    let at = SocketAddr::new(loopback(family), port);
    let listener = listen(at)?;
    let mut sources = Vec::new();
    for _ in 0..count {
        let pair = Pair::open(&listener, at, None)?;
        sources.push(pair.client.local_addr()?);
        close(pair)?;
    }
    sleep(REUSE_DELAY);
    for source in sources {
        close(Pair::open(&listener, at, Some(source))?)?;
    }
    Ok(Seen::default())
}

/// TIME_WAIT assassination (RFC 1337): an RST with exactly the next sequence number.
pub(super) fn rst(family: Family, port: u16, count: u32) -> Result<Seen> {
    let mirror = Mirror::open()?;
    for _ in 0..count {
        let fin = mirror.close_client_first(mirror.pair(family, port)?)?;
        mirror.give(&fin.reset_behind_fin())?;
    }
    Ok(Seen::default())
}

/// An administrator's `ss -K`.
pub(super) fn killed(family: Family, port: u16, count: u32) -> Result<Seen> {
    let at = SocketAddr::new(loopback(family), port);
    let listener = listen(at)?;
    for _ in 0..count {
        let pair = Pair::open(&listener, at, None)?;
        let source = pair.client.local_addr()?;
        pair.close_client_first()?;
        destroy(source, at)?;
    }
    Ok(Seen::default())
}

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => LOOPBACK.into(),
        Family::V6 => LOOPBACK6.into(),
    }
}

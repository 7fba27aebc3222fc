//! The ways a TIME_WAIT ends before its time.

use std::net::{IpAddr, SocketAddr};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use super::await_kernel::time_waits;
use super::expect::{Expect, NO_TIME_WAIT, ONE};
use super::handshake::close_first;
use super::mirror::Family::{self, V4, V6};
use super::mirror::Mirror;
use super::orphans::orphan;
use super::peer::Peer;
use super::scenario::Scenario;
use super::scene::Scene;
use super::sock_diag::kill_time_wait;
use super::tcp::{CLIENT_COMM, LOOPBACK, LOOPBACK6, Pair, listen};
use crate::netns::in_new_netns;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("reused", 8014, "the client takes its old port again with connect()", REUSED, |scene| {
        reused(scene, V4)
    }),
    Scenario::new(
        "reused6",
        8015,
        "the client takes its old port again with connect(), IPv6",
        REUSED,
        |scene| reused(scene, V6),
    ),
    Scenario::new(
        "new_syn",
        8016,
        "the server closes first, the client comes again from its old port",
        NEW_SYN,
        |scene| new_syn(scene, V4),
    ),
    Scenario::new(
        "new_syn6",
        8017,
        "the server closes first, the client comes again from its old port, IPv6",
        NEW_SYN,
        |scene| new_syn(scene, V6),
    ),
    Scenario::new("rst", 8018, "an RST of the peer reaches TIME_WAIT", RST, |scene| rst(scene, V4)),
    Scenario::new("rst6", 8019, "an RST of the peer reaches TIME_WAIT, IPv6", RST, |scene| rst(scene, V6)),
    Scenario::new("killed", 8020, "SOCK_DESTROY, as ss -K sends it", KILLED, |scene| killed(scene, V4)),
    Scenario::new("killed6", 8021, "SOCK_DESTROY, as ss -K sends it, IPv6", KILLED, |scene| {
        killed(scene, V6)
    }),
    Scenario::new(
        "netns_gone",
        8028,
        "the network namespace of a TIME_WAIT is removed",
        NOTHING_HERE,
        netns_gone,
    ),
    Scenario::new(
        "fin_wait2_netns_gone",
        8029,
        "the network namespace of a FIN_WAIT2 mini-socket is removed",
        NOTHING_HERE,
        fin_wait2_netns_gone,
    ),
];

/// All of it happens in another namespace.
const NOTHING_HERE: Expect = NO_TIME_WAIT;
const REUSED: Expect = Expect { recycled: 1, ended: Some((1, "reused")), ..NEW_SYN };
const NEW_SYN: Expect = Expect { connections: 2, began: 2, time_wait: 2, ended: Some((1, "new_syn")), ..ONE };
const RST: Expect = Expect { ended: Some((1, "rst")), ..ONE };
const KILLED: Expect = Expect { ended: Some((1, "killed")), ..ONE };

/// From Linux 6.15 connect() takes a port after `tcp_tw_reuse_delay` (1 s), before that when the second
/// (by the clock of seconds) has changed.
const REUSE_DELAY: Duration = Duration::from_millis(1_200);

/// The client reconnects from the port its own TIME_WAIT holds; `tcp_tw_reuse` 2, the default, allows it on
/// loopback. TcpExt TWRecycled counts it.
fn reused(scene: &mut Scene, family: Family) -> Result<()> {
    reconnect(scene, family, Pair::close_client_first)
}

/// The server's TIME_WAIT gets a SYN from the port it remembers, with a later timestamp, and makes way.
fn new_syn(scene: &mut Scene, family: Family) -> Result<()> {
    reconnect(scene, family, Pair::close_server_first)
}

/// Twice over the same four addresses and ports.
fn reconnect(scene: &mut Scene, family: Family, close: fn(Pair, &mut Scene) -> Result<()>) -> Result<()> {
    let at = SocketAddr::new(loopback(family), scene.port);
    let listener = listen(at)?;
    let mut sources = Vec::new();
    for _ in 0..scene.count {
        let pair = Pair::open(&listener, at, None)?;
        sources.push(pair.client.local_addr()?);
        close(pair, scene)?;
    }
    sleep(REUSE_DELAY);
    for source in sources {
        close(Pair::open(&listener, at, Some(source))?, scene)?;
    }
    Ok(())
}

/// TIME_WAIT assassination (RFC 1337): an RST with exactly the next sequence number.
fn rst(scene: &mut Scene, family: Family) -> Result<()> {
    let mirror = Mirror::open()?;
    for _ in 0..scene.count {
        let fin = mirror.close_client_first(mirror.pair(family, scene.port)?)?;
        mirror.give(&fin.reset_behind_fin())?;
    }
    Ok(())
}

/// An administrator's `ss -K`.
fn killed(scene: &mut Scene, family: Family) -> Result<()> {
    let at = SocketAddr::new(loopback(family), scene.port);
    let listener = listen(at)?;
    for _ in 0..scene.count {
        let pair = Pair::open(&listener, at, None)?;
        let source = pair.client.local_addr()?;
        pair.close_client_first(scene)?;
        time_waits(1)?;
        kill_time_wait(source, at)?;
    }
    Ok(())
}

fn netns_gone(scene: &mut Scene) -> Result<()> {
    in_lost_netns(scene, |mirror, scene| {
        let (stream, mut peer) = Peer::of_client(mirror, V4, scene.port)?;
        close_first(stream, &mut peer)
    })
}

fn fin_wait2_netns_gone(scene: &mut Scene) -> Result<()> {
    in_lost_netns(scene, |mirror, scene| orphan(mirror, scene, V4).map(drop))
}

/// In a namespace that ends with the work: time-wait sockets do not keep it.
fn in_lost_netns(scene: &mut Scene, work: fn(&Mirror, &Scene) -> Result<()>) -> Result<()> {
    let (port, count) = (scene.port, scene.count);
    let inode = in_new_netns(CLIENT_COMM, |inode| {
        work(&Mirror::open()?, &Scene::new(port, count))?;
        Ok(inode)
    })?;
    scene.namespaces.push((inode, "lost"));
    Ok(())
}

fn loopback(family: Family) -> IpAddr {
    match family {
        V4 => LOOPBACK.into(),
        V6 => LOOPBACK6.into(),
    }
}

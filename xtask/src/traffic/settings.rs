//! What the TCP settings do to TIME_WAIT: tcp_tw_reuse, tcp_tw_reuse_delay, tcp_rfc1337, tcp_timestamps,
//! tcp_max_tw_buckets.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;

use super::closing::NO_OVERFLOW_EVENTS;
use super::expect::{Expect, ONE};
use super::handshake::close_first;
use super::mirror::Family::V4;
use super::mirror::{Mirror, start_connect, start_connect_from};
use super::peer::{Peer, Say};
use super::scenario::Scenario;
use super::scene::{Lacking, Scene};
use super::tcp::{CLIENT_COMM, LOOPBACK, Pair, act_as, listen};
use crate::netns::{read_sysctl, sysctl};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("tw_reuse_0", 8070, "tcp_tw_reuse 0: connect() does not take the port", ONE, reuse_0),
    Scenario::new(
        "tw_reuse_1",
        8071,
        "tcp_tw_reuse 1: connect() chooses the port, to anywhere",
        REUSED,
        reuse_1,
    ),
    Scenario::new(
        "tw_reuse_2",
        8072,
        "tcp_tw_reuse 2: connect() takes the port on loopback only",
        ONE,
        reuse_2,
    ),
    Scenario::new(
        "tw_reuse_delay_long",
        8073,
        "tcp_tw_reuse_delay 10 s: connect() comes too soon",
        ONE,
        reuse_delay_long,
    ),
    Scenario::new(
        "tw_reuse_delay_short",
        8074,
        "tcp_tw_reuse_delay 100 ms: connect() need not wait for a second",
        REUSED,
        reuse_delay_short,
    ),
    Scenario::new(
        "tw_reuse_no_timestamps",
        8075,
        "tcp_timestamps 0: connect() has nothing to go by and does not take the port",
        ONE,
        reuse_no_timestamps,
    ),
    Scenario::new(
        "new_syn_no_timestamps",
        8076,
        "tcp_timestamps 0: a SYN with a higher sequence number is new",
        Expect { connections: 2, began: 2, time_wait: 2, ended: Some((1, "new_syn")), ..ONE },
        new_syn_no_timestamps,
    ),
    Scenario::new("rfc1337", 8077, "tcp_rfc1337 1: the RST that would end TIME_WAIT does not", ONE, rfc1337),
    Scenario::new(
        "max_tw_buckets",
        8078,
        "tcp_max_tw_buckets 2: the third and fourth connection skip TIME_WAIT",
        Expect { connections: 4, began: 2, time_wait: 2, overflow: 2, ..ONE },
        max_tw_buckets,
    )
    .differs(NO_OVERFLOW_EVENTS),
    Scenario::new(
        "tw_reuse_bound",
        8079,
        "tcp_tw_reuse 0, but bind() asks for the port: connect() takes it, and at once",
        REUSED,
        bound,
    ),
];

const REUSED: Expect =
    Expect { connections: 2, began: 2, time_wait: 2, recycled: 1, ended: Some((1, "reused")), ..ONE };

const TW_REUSE: &str = "net/ipv4/tcp_tw_reuse";
const TW_REUSE_DELAY: &str = "net/ipv4/tcp_tw_reuse_delay";
const TIMESTAMPS: &str = "net/ipv4/tcp_timestamps";
const PORTS: &str = "net/ipv4/ip_local_port_range";
const ONE_PORT: &str = "20001 20001";
/// By default connect() takes a port when the second has changed, or after one.
const A_SECOND: Duration = Duration::from_millis(1_200);

fn reuse_0(scene: &mut Scene) -> Result<()> {
    sysctl(TW_REUSE, "0")?;
    refused(on_loopback(scene, A_SECOND))
}

fn reuse_1(scene: &mut Scene) -> Result<()> {
    sysctl(TW_REUSE, "1")?;
    through_mirror(scene, A_SECOND)
}

fn reuse_2(scene: &mut Scene) -> Result<()> {
    sysctl(TW_REUSE, "2")?;
    refused(through_mirror(scene, A_SECOND))
}

fn reuse_delay_long(scene: &mut Scene) -> Result<()> {
    delay("10000")?;
    refused(on_loopback(scene, Duration::from_secs(3)))
}

fn reuse_delay_short(scene: &mut Scene) -> Result<()> {
    delay("100")?;
    on_loopback(scene, Duration::from_millis(250))
}

fn reuse_no_timestamps(scene: &mut Scene) -> Result<()> {
    sysctl(TW_REUSE, "1")?;
    sysctl(TIMESTAMPS, "0")?;
    refused(on_loopback(scene, A_SECOND))
}

fn delay(ms: &str) -> Result<()> {
    if read_sysctl(TW_REUSE_DELAY).is_err() {
        return Err(Lacking("this kernel has no tcp_tw_reuse_delay (6.14)".to_owned()).into());
    }
    sysctl(TW_REUSE_DELAY, ms)
}

/// The port must not have been given.
fn refused(connected: Result<()>) -> Result<()> {
    match connected {
        Ok(()) => bail!("connect() took the port of a TIME_WAIT"),
        Err(error) if error.downcast_ref::<Errno>() == Some(&Errno::EADDRNOTAVAIL) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A connection that the client closes first, and after a while another, for which there is only its port.
///
/// After bind() the settings would not matter: connect() then takes any port whose TIME_WAIT has a timestamp.
fn on_loopback(scene: &mut Scene, wait: Duration) -> Result<()> {
    sysctl(PORTS, ONE_PORT)?;
    let at = SocketAddr::new(LOOPBACK.into(), scene.port);
    let listener = listen(at)?;
    Pair::open(&listener, at, None)?.close_client_first(scene)?;
    sleep(wait);
    Pair::open(&listener, at, None)?.close_client_first(scene)
}

/// The same with a peer that is not of this host.
fn through_mirror(scene: &mut Scene, wait: Duration) -> Result<()> {
    sysctl(PORTS, ONE_PORT)?;
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    let (stream, mut peer) = Peer::of_client(&mirror, V4, scene.port)?;
    close_first(stream, &mut peer)?;
    sleep(wait);
    let again = start_connect(peer.kernel_ends().1)?;
    peer.answer()?;
    close_first(again, &mut peer)
}

/// tcp_tw_reuse forbids it, but the port is asked for by name.
fn bound(scene: &mut Scene) -> Result<()> {
    sysctl(TW_REUSE, "0")?;
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    let (stream, mut peer) = Peer::of_client(&mirror, V4, scene.port)?;
    close_first(stream, &mut peer)?;
    let (local, remote) = peer.kernel_ends();
    let again = start_connect_from(local, remote)?;
    peer.answer()?;
    close_first(again, &mut peer)
}

fn new_syn_no_timestamps(scene: &mut Scene) -> Result<()> {
    sysctl(TIMESTAMPS, "0")?;
    let at = SocketAddr::new(LOOPBACK.into(), scene.port);
    let listener = listen(at)?;
    let pair = Pair::open(&listener, at, None)?;
    let from = pair.client.local_addr()?;
    pair.close_server_first(scene)?;
    Pair::open(&listener, at, Some(from))?.close_server_first(scene)
}

fn rfc1337(scene: &mut Scene) -> Result<()> {
    sysctl("net/ipv4/tcp_rfc1337", "1")?;
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    let (stream, mut peer) = Peer::of_client(&mirror, V4, scene.port)?;
    close_first(stream, &mut peer)?;
    peer.say(Say::Rst)?;
    peer.hear_nothing()
}

fn max_tw_buckets(scene: &mut Scene) -> Result<()> {
    sysctl("net/ipv4/tcp_max_tw_buckets", "2")?;
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    for number in 0..4 {
        let (stream, mut peer) = Peer::of_client(&mirror, V4, scene.port)?;
        close_first(stream, &mut peer).with_context(|| format!("connection {number}"))?;
    }
    Ok(())
}

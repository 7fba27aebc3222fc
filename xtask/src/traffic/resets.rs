//! The peer's RST meets a connection in each of its states.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};

use anyhow::{Result, ensure};

use super::await_kernel::{end_of, error_of};
use super::expect::{Expect, NO_TIME_WAIT, ONE};
use super::mirror::Family::{V4, V6};
use super::mirror::Mirror;
use super::peer::{Peer, Say};
use super::scenario::Scenario;
use super::scene::Scene;
use super::tcp::{CLIENT_COMM, act_as, finish, listen};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("rst_syn_sent", 8030, "an RST answers connect()", NO_TIME_WAIT, syn_sent),
    Scenario::new("rst_syn_recv", 8031, "an RST instead of the handshake's last ACK", NO_TIME_WAIT, syn_recv),
    Scenario::new("rst_established", 8032, "an RST in ESTABLISHED", NO_TIME_WAIT, established),
    Scenario::new("rst_fin_wait1", 8033, "an RST answers close()", NO_TIME_WAIT, fin_wait1),
    Scenario::new(
        "rst_fin_wait2",
        8034,
        "an RST in FIN_WAIT2, the socket still open",
        NO_TIME_WAIT,
        fin_wait2,
    ),
    Scenario::new("rst_close_wait", 8035, "an RST in CLOSE_WAIT", NO_TIME_WAIT, close_wait),
    Scenario::new("rst_last_ack", 8036, "an RST in LAST_ACK", NO_TIME_WAIT, last_ack),
    Scenario::new("rst_closing", 8037, "an RST in CLOSING", NO_TIME_WAIT, closing),
    Scenario::new(
        "rst_outside",
        8038,
        "an RST outside the window of a TIME_WAIT changes nothing",
        ONE,
        outside,
    ),
    Scenario::new(
        "fin_wait2_rst6",
        8039,
        "an RST reaches a FIN_WAIT2 mini-socket, IPv6",
        Expect { began: 1, began_in_fin_wait2: 1, ended: Some((1, "rst")), ..NO_TIME_WAIT },
        fin_wait2_mini,
    ),
];

fn syn_sent(scene: &mut Scene) -> Result<()> {
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    let (stream, mut peer) = Peer::called(&mirror, V4, scene.port)?;
    peer.say(Say::RstAck)?;
    let error = error_of(&stream)?;
    ensure!(error.kind() == ErrorKind::ConnectionRefused, "connect(): {error}");
    Ok(())
}

/// Until its last ACK a handshake has no socket of its own, so nothing of it is told.
fn syn_recv(scene: &mut Scene) -> Result<()> {
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    let listener = listen(SocketAddr::new(V4.ends().0, scene.port))?;
    let mut peer = Peer::dialling(&mirror, V4, scene.port, 31_000);
    peer.say(Say::Syn)?;
    peer.hear("SYN-ACK", |tcp| tcp.syn && tcp.ack)?;
    peer.say(Say::Rst)?;
    listener.set_nonblocking(true)?;
    ensure!(listener.accept().is_err(), "the reset handshake became a connection");
    Ok(())
}

fn established(scene: &mut Scene) -> Result<()> {
    with_client(scene, |stream, peer| {
        peer.say(Say::Rst)?;
        let error = error_of(&stream)?;
        ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
        Ok(())
    })
}

fn fin_wait1(scene: &mut Scene) -> Result<()> {
    with_client(scene, |stream, peer| {
        drop(stream);
        peer.hear("FIN", |tcp| tcp.fin)?;
        peer.say(Say::Rst)
    })
}

fn fin_wait2(scene: &mut Scene) -> Result<()> {
    with_client(scene, |stream, peer| {
        finish(&stream)?;
        peer.hear("FIN", |tcp| tcp.fin)?;
        peer.say(Say::Ack)?;
        peer.say(Say::Rst)?;
        error_of(&stream).map(drop)
    })
}

fn close_wait(scene: &mut Scene) -> Result<()> {
    with_client(scene, |stream, peer| {
        peer.say(Say::FinAck)?;
        peer.say(Say::Rst)?;
        error_of(&stream).map(drop)
    })
}

fn last_ack(scene: &mut Scene) -> Result<()> {
    with_client(scene, |mut stream, peer| {
        peer.say(Say::FinAck)?;
        end_of(&mut stream)?;
        drop(stream);
        peer.hear("FIN", |tcp| tcp.fin)?;
        peer.say(Say::Rst)
    })
}

/// The peer's FIN does not acknowledge ours.
fn closing(scene: &mut Scene) -> Result<()> {
    with_client(scene, |stream, peer| {
        let fin = peer.segment(Say::FinAck)?;
        drop(stream);
        peer.hear("FIN", |tcp| tcp.fin)?;
        peer.say_as(&fin)?;
        peer.say(Say::Rst)
    })
}

/// RFC 1337's assassin must know the exact sequence number.
fn outside(scene: &mut Scene) -> Result<()> {
    with_client(scene, |stream, peer| {
        drop(stream);
        peer.hear("FIN", |tcp| tcp.fin)?;
        peer.say(Say::FinAck)?;
        peer.hear("the last ACK", |tcp| tcp.ack)?;
        peer.say_altered(Say::Rst, |rst| rst.tcp.sequence_number -= 1_000)?;
        peer.hear_nothing()
    })
}

fn fin_wait2_mini(scene: &mut Scene) -> Result<()> {
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    let (stream, mut peer) = Peer::of_client(&mirror, V6, scene.port)?;
    drop(stream);
    peer.hear("FIN", |tcp| tcp.fin)?;
    peer.say(Say::Ack)?;
    peer.say(Say::Rst)
}

/// A client of the kernel's that is connected to a peer of ours.
fn with_client(scene: &Scene, work: impl Fn(TcpStream, &mut Peer<'_>) -> Result<()>) -> Result<()> {
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    let (stream, mut peer) = Peer::of_client(&mirror, V4, scene.port)?;
    work(stream, &mut peer)
}

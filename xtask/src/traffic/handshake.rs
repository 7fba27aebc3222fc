//! How connections begin, or fail to: the peer's segments are ours, so each step is provoked.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen as listen_with, setsockopt,
    socket, sockopt,
};

use super::await_kernel::{accept, connected, end_of, error_of, pending};
use super::counters;
use super::expect::{Expect, NO_TIME_WAIT, ONE};
use super::mirror::Family::{V4, V6};
use super::mirror::Mirror;
use super::peer::{Peer, Say};
use super::scenario::Scenario;
use super::scene::Scene;
use super::tcp::{CLIENT_COMM, LOOPBACK, SERVER_COMM, act_as, connect_from, listen};
use crate::netns::sysctl;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "active_open_passive_close",
        8040,
        "connect(), then the peer closes first",
        NO_TIME_WAIT,
        active_open_passive_close,
    ),
    Scenario::new(
        "passive_open_active_close",
        8041,
        "the peer connects, we close first, IPv6",
        ONE,
        passive_open_active_close,
    ),
    Scenario::new("simultaneous_open", 8042, "the SYNs of both ends cross", ONE, simultaneous_open),
    Scenario::new(
        "syn_to_closed_port",
        8043,
        "a SYN for a port that nobody listens on",
        Expect { connections: 0, ..NO_TIME_WAIT },
        syn_to_closed_port,
    ),
    Scenario::new("connect_refused", 8044, "connect() to a closed port", NO_TIME_WAIT, connect_refused),
    Scenario::new(
        "connect_times_out",
        8045,
        "connect() that nobody answers",
        NO_TIME_WAIT,
        connect_times_out,
    ),
    Scenario::new(
        "accept_queue_overflow",
        8046,
        "the last ACK of a handshake finds the accept queue full and is reset",
        Expect { connections: 3, ..NO_TIME_WAIT },
        accept_queue_overflow,
    ),
    Scenario::new(
        "listen_close",
        8047,
        "a listener is closed with a connection in its accept queue",
        NO_TIME_WAIT,
        listen_close,
    ),
];

fn active_open_passive_close(scene: &mut Scene) -> Result<()> {
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    let (mut stream, mut peer) = Peer::of_client(&mirror, V4, scene.port)?;
    peer.say(Say::FinAck)?;
    end_of(&mut stream)?;
    drop(stream);
    peer.hear("FIN", |tcp| tcp.fin)?;
    peer.say(Say::Ack)
}

fn passive_open_active_close(scene: &mut Scene) -> Result<()> {
    act_as(SERVER_COMM)?;
    let mirror = Mirror::open()?;
    let (stream, mut peer) = Peer::of_server(&mirror, V6, scene.port, 31_000)?;
    close_first(stream, &mut peer)
}

/// Both connect(): SYN_SENT, SYN_RECV, ESTABLISHED, all of one socket.
fn simultaneous_open(scene: &mut Scene) -> Result<()> {
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    let (stream, mut peer) = Peer::called(&mirror, V4, scene.port)?;
    peer.say(Say::Syn)?;
    peer.hear("SYN-ACK", |tcp| tcp.syn && tcp.ack)?;
    peer.say(Say::Ack)?;
    connected(&stream)?;
    close_first(stream, &mut peer)
}

/// Our socket closes, the peer acknowledges and closes at once.
pub(super) fn close_first(stream: TcpStream, peer: &mut Peer<'_>) -> Result<()> {
    drop(stream);
    peer.hear("FIN", |tcp| tcp.fin)?;
    peer.say(Say::FinAck)?;
    peer.hear("the last ACK", |tcp| tcp.ack && !tcp.fin).map(drop)
}

fn syn_to_closed_port(scene: &mut Scene) -> Result<()> {
    let mirror = Mirror::open()?;
    let mut peer = Peer::dialling(&mirror, V4, scene.port, 31_000);
    peer.say(Say::Syn)?;
    peer.hear("RST", |tcp| tcp.rst).map(drop)
}

fn connect_refused(scene: &mut Scene) -> Result<()> {
    act_as(CLIENT_COMM)?;
    let refused = connect_from(SocketAddr::new(LOOPBACK.into(), scene.port), None);
    ensure!(refused.is_err(), "somebody listens on port {}", scene.port);
    Ok(())
}

fn connect_times_out(scene: &mut Scene) -> Result<()> {
    const PATIENCE_MS: u32 = 1_500;
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    let (stream, _peer) = Peer::called(&mirror, V4, scene.port)?;
    setsockopt(&stream, sockopt::TcpUserTimeout, &PATIENCE_MS).context("TCP_USER_TIMEOUT")?;
    // The kernel looks when it sends its SYN again: after one second, and after three.
    let error = error_of(&stream)?;
    ensure!(error.kind() == ErrorKind::TimedOut, "connect(): {error}");
    Ok(())
}

/// Four handshakes for a queue of three: the fourth last ACK has no place to go.
fn accept_queue_overflow(scene: &mut Scene) -> Result<()> {
    act_as(SERVER_COMM)?;
    sysctl("net/ipv4/tcp_abort_on_overflow", "1")?;
    let mirror = Mirror::open()?;
    let at = SocketAddr::new(V4.ends().0, scene.port);
    let listener = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(listener.as_raw_fd(), &SockaddrStorage::from(at))?;
    // The queue has room for one more than it says, handshakes that wait for their last ACK for just as many.
    listen_with(&listener, Backlog::new(2)?)?;
    let overflows = counters::tcp_ext("ListenOverflows")?;
    let mut peers =
        [31_001, 31_002, 31_003, 31_004].map(|from| Peer::dialling(&mirror, V4, scene.port, from));
    for two in peers.chunks_mut(2) {
        for peer in &mut *two {
            peer.say(Say::Syn)?;
            peer.hear("SYN-ACK", |tcp| tcp.syn && tcp.ack)?;
        }
        two.iter_mut().try_for_each(|peer| peer.say(Say::Ack))?;
    }
    let [accepted @ .., refused] = &mut peers;
    refused.hear("RST", |tcp| tcp.rst)?;
    ensure!(counters::tcp_ext("ListenOverflows")? == overflows + 1, "ListenOverflows did not grow by one");
    let listener = listener.into();
    for peer in accepted {
        let mut stream = accept(&listener)?;
        // The peer closes first: nothing is left of it.
        peer.say(Say::FinAck)?;
        end_of(&mut stream)?;
        drop(stream);
        peer.hear("FIN", |tcp| tcp.fin)?;
        peer.say(Say::Ack)?;
    }
    Ok(())
}

/// What nobody has accepted is reset.
fn listen_close(scene: &mut Scene) -> Result<()> {
    act_as(SERVER_COMM)?;
    let mirror = Mirror::open()?;
    let listener = listen(SocketAddr::new(V4.ends().0, scene.port))?;
    let mut peer = Peer::dialling(&mirror, V4, scene.port, 31_000);
    peer.shake_hands()?;
    pending(&listener)?;
    drop(listener);
    peer.hear("RST", |tcp| tcp.rst).map(drop)
}

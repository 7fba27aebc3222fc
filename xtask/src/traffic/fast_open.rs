//! TCP Fast Open: data comes with the SYN, and the server's socket is there before the handshake is over.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, sendto, socket};

use super::await_kernel::accept;
use super::counters;
use super::expect::{Expect, NO_TIME_WAIT, ONE};
use super::mirror::Family::V4;
use super::mirror::Mirror;
use super::peer::{Peer, Say};
use super::rate::on_cpu;
use super::scenario::Scenario;
use super::scene::{Lacking, Scene};
use super::tcp::{CLIENT_COMM, LOOPBACK, Pair, SERVER_COMM, act_as, listen, set_tcp_option};
use crate::netns::sysctl;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("fast_open", 8050, "data with the SYN, the client closes first", ONE, fast_open),
    Scenario::new(
        "fast_open_close",
        8051,
        "the server closes before the handshake is over: SYN_RECV to FIN_WAIT1",
        ONE,
        close_in_syn_recv,
    ),
    Scenario::new(
        "fast_open_waits",
        8052,
        "many wait in SYN_RECV at once and are closed there, on another CPU where there is one",
        Expect {
            connections: WAITING as u32,
            began: WAITING as u32,
            time_wait: WAITING as u32,
            ..NO_TIME_WAIT
        },
        wait_in_syn_recv,
    ),
    Scenario::new(
        "half_open",
        8053,
        "the handshake's ACK is put off until data comes (TCP_DEFER_ACCEPT)",
        ONE,
        half_open,
    ),
];

/// Connections that wait at once: more than one CPU remembers by itself.
pub const WAITING: u16 = 16;
/// How long they wait, and how long the data of `half_open` takes to come: less than a SYN-ACK's timer.
pub const WAIT: Duration = Duration::from_millis(300);

/// Client and server, both without cookies.
const WITHOUT_COOKIES: &str = "519";

fn allow() -> Result<()> {
    sysctl("net/ipv4/tcp_fastopen", WITHOUT_COOKIES)
        .map_err(|error| Lacking(format!("this kernel has no TCP Fast Open: {error:#}")).into())
}

fn fast_open(scene: &mut Scene) -> Result<()> {
    allow()?;
    let at = SocketAddr::new(LOOPBACK.into(), scene.port);
    let listener = listen(at)?;
    set_tcp_option(&listener, libc::TCP_FASTOPEN, 16)?;
    act_as(CLIENT_COMM)?;
    let before = counters::tcp_ext("TCPFastOpenPassive")?;
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let to = SockaddrStorage::from(at);
    sendto(fd.as_raw_fd(), b"?", &to, MsgFlags::from_bits_retain(libc::MSG_FASTOPEN))
        .context("sending data with the SYN")?;
    let (mut server, _) = listener.accept()?;
    let mut client = TcpStream::from(fd);
    let mut byte = [0];
    server.read_exact(&mut byte)?;
    server.write_all(b"!")?;
    client.read_exact(&mut byte)?;
    ensure!(counters::tcp_ext("TCPFastOpenPassive")? == before + 1, "the SYN carried no data");
    Pair { client, server }.close_client_first(scene)
}

fn close_in_syn_recv(scene: &mut Scene) -> Result<()> {
    allow()?;
    act_as(SERVER_COMM)?;
    let mirror = Mirror::open()?;
    let listener = listen(SocketAddr::new(V4.ends().0, scene.port))?;
    set_tcp_option(&listener, libc::TCP_FASTOPEN, 16)?;
    let mut peer = Peer::dialling(&mirror, V4, scene.port, 31_000);
    peer.say(Say::SynData(b"?"))?;
    peer.hear("SYN-ACK", |tcp| tcp.syn && tcp.ack)?;
    let mut server = accept(&listener)?;
    server.read_exact(&mut [0])?;
    drop(server);
    peer.hear("FIN", |tcp| tcp.fin)?;
    peer.say(Say::FinAck)?;
    peer.hear("the last ACK", |tcp| tcp.ack && !tcp.fin).map(drop)
}

fn wait_in_syn_recv(scene: &mut Scene) -> Result<()> {
    allow()?;
    act_as(SERVER_COMM)?;
    let mirror = Mirror::open()?;
    let listener = listen(SocketAddr::new(V4.ends().0, scene.port))?;
    set_tcp_option(&listener, libc::TCP_FASTOPEN, i32::from(WAITING))?;
    let begin = |from| {
        let mut peer = Peer::dialling(&mirror, V4, scene.port, from);
        peer.say(Say::SynData(b"?"))?;
        peer.hear("SYN-ACK", |tcp| tcp.syn && tcp.ack)?;
        let mut server = accept(&listener)?;
        server.read_exact(&mut [0])?;
        Ok((peer, server))
    };
    let end = |(mut peer, server): (Peer<'_>, TcpStream)| {
        drop(server);
        peer.hear("FIN", |tcp| tcp.fin)?;
        peer.say(Say::FinAck)?;
        peer.hear("the last ACK", |tcp| tcp.ack && !tcp.fin).map(drop)
    };
    let waiting = on_cpu(0, || (31_000..31_000 + WAITING).map(begin).collect::<Result<Vec<_>>>())?;
    sleep(WAIT);
    on_cpu(1, || waiting.into_iter().try_for_each(end))
}

/// The request waits with the peer's ACK forgotten; ss shows SYN-RECV meanwhile.
fn half_open(scene: &mut Scene) -> Result<()> {
    act_as(SERVER_COMM)?;
    let mirror = Mirror::open()?;
    let listener = listen(SocketAddr::new(V4.ends().0, scene.port))?;
    set_tcp_option(&listener, libc::TCP_DEFER_ACCEPT, 5)?;
    let mut peer = Peer::dialling(&mirror, V4, scene.port, 31_000);
    peer.shake_hands()?;
    sleep(WAIT);
    peer.say(Say::Data(b"?"))?;
    let mut server = accept(&listener)?;
    server.read_exact(&mut [0])?;
    drop(server);
    peer.hear("FIN", |tcp| tcp.fin)?;
    peer.say(Say::FinAck)?;
    peer.hear("the last ACK", |tcp| tcp.ack && !tcp.fin).map(drop)
}

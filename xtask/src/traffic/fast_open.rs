//! TCP Fast Open: data comes with the SYN, and the server's socket is there before the handshake is over.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, sendto, socket};

use super::await_kernel::accept;
use super::counters;
use super::expect::ONE;
use super::mirror::Family::V4;
use super::mirror::Mirror;
use super::peer::{Peer, Say};
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
];

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

//! Sockets that are bound to an interface: the same addresses and ports twice, which only the interface tells apart.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream};

use anyhow::Result;

use super::expect::{Expect, ONE};
use super::mirror::{HERE, Mirror, PEER, start_connect_by, start_connect_from};
use super::peer::{Peer, Say};
use super::scenario::Scenario;
use super::scene::Scene;
use super::tcp::{CLIENT_COMM, act_as};
use crate::netns::sysctl;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("bound_twins", 8110, "twins that are bound to two devices (SO_BINDTODEVICE)", TWO, bound),
    Scenario::new("link_local_twins", 8111, "twins at link-local addresses of two links", TWO, link_local),
];

/// Two connections, one end of each in TIME_WAIT.
const TWO: Expect = Expect { connections: 2, began: 2, time_wait: 2, ..ONE };

const DEVICES: [&str; 2] = ["twtwin0", "twtwin1"];
/// The names that they are closed under.
const CLOSERS: [&str; 2] = ["tw-twin0", "tw-twin1"];
/// The port that both connect from.
const PORT: u16 = 20_000;
const HERE_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const PEER_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

/// One of the two, and its peer.
type Twin<'m> = (TcpStream, Peer<'m>);

fn bound(scene: &mut Scene) -> Result<()> {
    let (here, there) = (SocketAddr::new(HERE.into(), PORT), SocketAddr::new(PEER.into(), scene.port));
    twins(|mirror| {
        let stream = start_connect_by(mirror.device(), here, there)?;
        Ok((stream, Peer::between(mirror, here, there)))
    })
}

fn link_local(scene: &mut Scene) -> Result<()> {
    let ends = [(HERE_LINK_LOCAL, PORT), (PEER_LINK_LOCAL, scene.port)];
    twins(|mirror| {
        mirror.add_address6(HERE_LINK_LOCAL)?;
        let link = mirror.index()?;
        let [here, there] = ends.map(|(ip, port)| SocketAddrV6::new(ip, port, 0, link).into());
        let stream = start_connect_from(here, there)?;
        let [here, there] = ends.map(|(ip, port)| SocketAddr::new(ip.into(), port));
        Ok((stream, Peer::between(mirror, here, there)))
    })
}

/// Connects on both devices, then closes both sockets, each under a name of its own, before either peer answers.
fn twins(connect: impl for<'m> Fn(&'m Mirror) -> Result<Twin<'m>>) -> Result<()> {
    act_as(CLIENT_COMM)?;
    let mirrors = [Mirror::named(DEVICES[0])?, Mirror::named(DEVICES[1])?];
    // The route back to the peer is by the first device, whichever its packets come by.
    for interface in DEVICES.iter().chain(&["all"]) {
        sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "0")?;
    }
    let mut twins = Vec::new();
    for mirror in &mirrors {
        let (stream, mut peer) = connect(mirror)?;
        peer.answer()?;
        twins.push((stream, peer));
    }
    let mut peers = Vec::new();
    for ((stream, peer), closer) in twins.into_iter().zip(CLOSERS) {
        act_as(closer)?;
        drop(stream);
        peers.push(peer);
    }
    for peer in &mut peers {
        peer.hear("FIN", |tcp| tcp.fin)?;
        peer.say(Say::FinAck)?;
        peer.hear("the last ACK", |tcp| tcp.ack && !tcp.fin)?;
    }
    Ok(())
}

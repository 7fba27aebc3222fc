//! A peer that is nobody's socket: it lives beyond the mirror, and we say each of its segments ourselves.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use etherparse::{TcpHeader, TcpOptionElement};

use super::await_kernel::{PATIENCE, SILENCE, accept};
use super::mirror::{Family, Mirror, start_connect};
use super::packet::Packet;
use super::tcp::listen;

const WINDOW: u16 = 60_000;
/// Our first sequence number and timestamp: high enough to go back from.
const FIRST: u32 = 0x1000_0000;

/// What a segment carries; the rest follows from where the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say<'a> {
    Syn,
    /// The answer to a SYN.
    SynAck,
    Ack,
    Data(&'a [u8]),
    /// A SYN with data, as TCP Fast Open sends it.
    SynData(&'a [u8]),
    FinAck,
    Rst,
    /// The answer to a SYN that nobody wants.
    RstAck,
}

/// One end of one connection with the kernel.
pub(crate) struct Peer<'m> {
    mirror: &'m Mirror,
    /// The kernel's end.
    here: SocketAddr,
    /// Ours.
    there: SocketAddr,
    /// The next sequence number that we send.
    pub(crate) next: u32,
    /// The next sequence number that we expect.
    heard: u32,
    /// Our clock, and the kernel's as last seen; none: no timestamps on this connection.
    stamps: Option<(u32, u32)>,
}

impl<'m> Peer<'m> {
    /// A peer that dials the kernel's `port` from its own `from`; it has not said anything yet.
    pub(crate) fn dialling(mirror: &'m Mirror, family: Family, port: u16, from: u16) -> Self {
        let (here, there) = family.ends();
        Self::between(mirror, SocketAddr::new(here, port), SocketAddr::new(there, from))
    }

    /// A peer `there` for the kernel's end `here`, neither with an interface in it; it has not said anything yet.
    pub(crate) const fn between(mirror: &'m Mirror, here: SocketAddr, there: SocketAddr) -> Self {
        Self { mirror, here, there, next: FIRST, heard: 0, stamps: Some((FIRST, 0)) }
    }

    /// A peer at `port` that the kernel's connect() has just called: it has heard the SYN.
    pub(crate) fn called(mirror: &'m Mirror, family: Family, port: u16) -> Result<(TcpStream, Self)> {
        let (here, there) = family.ends();
        let stream = start_connect(SocketAddr::new(there, port))?;
        let local = stream.local_addr()?;
        let mut peer = Self::dialling(mirror, family, local.port(), port);
        debug_assert_eq!(local.ip(), here);
        let syn = peer.hear("SYN", |tcp| tcp.syn)?;
        if syn.timestamp().is_none() {
            peer.stamps = None;
        }
        Ok((stream, peer))
    }

    /// The kernel's client, connected to us.
    pub(crate) fn of_client(mirror: &'m Mirror, family: Family, port: u16) -> Result<(TcpStream, Self)> {
        let (stream, mut peer) = Self::called(mirror, family, port)?;
        peer.say(Say::SynAck)?;
        peer.hear("the handshake's ACK", |tcp| tcp.ack && !tcp.syn)?;
        Ok((stream, peer))
    }

    /// The kernel's server at `port`, connected to by us.
    pub(crate) fn of_server(
        mirror: &'m Mirror,
        family: Family,
        port: u16,
        from: u16,
    ) -> Result<(TcpStream, Self)> {
        let listener = listen(SocketAddr::new(family.ends().0, port))?;
        let mut peer = Self::dialling(mirror, family, port, from);
        peer.shake_hands()?;
        Ok((accept(&listener)?, peer))
    }

    /// SYN, SYN-ACK, ACK.
    pub(crate) fn shake_hands(&mut self) -> Result<()> {
        self.say(Say::Syn)?;
        self.hear("SYN-ACK", |tcp| tcp.syn && tcp.ack)?;
        self.say(Say::Ack)
    }

    /// SYN-ACK for a SYN that the kernel has sent, again on this connection.
    pub(crate) fn answer(&mut self) -> Result<()> {
        self.hear("SYN", |tcp| tcp.syn)?;
        self.say(Say::SynAck)?;
        self.hear("the handshake's ACK", |tcp| tcp.ack && !tcp.syn).map(drop)
    }

    /// Sends the next segment. The kernel has processed it when this returns.
    pub(crate) fn say(&mut self, what: Say<'_>) -> Result<()> {
        let packet = self.segment(what)?;
        self.next = packet.end();
        self.mirror.inject(&packet)
    }

    /// Sends something of ours that does not count as said.
    pub(crate) fn inject(&self, packet: &Packet) -> Result<()> {
        self.mirror.inject(packet)
    }

    /// Sends a segment that was made before, when less had been heard.
    pub(crate) fn say_as(&mut self, packet: &Packet) -> Result<()> {
        self.next = packet.end();
        self.mirror.inject(packet)
    }

    /// A segment that takes no sequence number of ours, altered on purpose.
    pub(crate) fn say_altered(&mut self, what: Say<'_>, alter: impl FnOnce(&mut Packet)) -> Result<()> {
        let mut packet = self.segment(what)?;
        alter(&mut packet);
        self.mirror.inject(&packet)
    }

    /// The next segment, not sent.
    pub(crate) fn segment(&mut self, what: Say<'_>) -> Result<Packet> {
        let mut tcp = TcpHeader::new(self.there.port(), self.here.port(), self.next, WINDOW);
        let (syn, ack, fin, rst, payload): (_, _, _, _, &[u8]) = match what {
            Say::Syn => (true, false, false, false, b""),
            Say::SynData(data) => (true, false, false, false, data),
            Say::SynAck => (true, true, false, false, b""),
            Say::Ack => (false, true, false, false, b""),
            Say::Data(data) => (false, true, false, false, data),
            Say::FinAck => (false, true, true, false, b""),
            Say::Rst => (false, false, false, true, b""),
            Say::RstAck => (false, true, false, true, b""),
        };
        (tcp.syn, tcp.ack, tcp.fin, tcp.rst) = (syn, ack, fin, rst);
        tcp.psh = !payload.is_empty();
        if ack {
            tcp.acknowledgment_number = self.heard;
        }
        let mut options = Vec::new();
        if syn {
            options.push(TcpOptionElement::MaximumSegmentSize(1460));
        }
        if let Some((ours, theirs)) = self.stamps.as_mut().filter(|_| !rst) {
            *ours += 1;
            options.extend([TcpOptionElement::Noop, TcpOptionElement::Noop]);
            options.push(TcpOptionElement::Timestamp(*ours, *theirs));
        }
        tcp.set_options(&options).context("TCP options")?;
        Ok(Packet { from: self.there.ip(), to: self.here.ip(), tcp, payload: payload.to_vec() })
    }

    /// Waits for a segment of the kernel's like this; takes note of all that come.
    pub(crate) fn hear(&mut self, what: &str, is: impl Fn(&TcpHeader) -> bool) -> Result<Packet> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let packets = self.mirror.take_within(deadline.saturating_duration_since(Instant::now()))?;
            ensure!(!packets.is_empty(), "{}: the kernel sent no {what}", self.here);
            let mut found = None;
            for packet in packets {
                if packet.source() != self.here || packet.destination() != self.there {
                    continue;
                }
                self.note(&packet);
                if is(&packet.tcp) {
                    found.get_or_insert(packet);
                }
            }
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }

    /// Nothing more comes from the kernel.
    pub(crate) fn hear_nothing(&mut self) -> Result<()> {
        for packet in self.mirror.take_within(SILENCE)? {
            if packet.source() == self.here && packet.destination() == self.there {
                bail!("{}: the kernel sent {:?}", self.here, packet.tcp);
            }
        }
        Ok(())
    }

    fn note(&mut self, packet: &Packet) {
        let ahead = packet.end().wrapping_sub(self.heard).cast_signed();
        if packet.tcp.syn || ahead > 0 {
            self.heard = packet.end();
        }
        if let (Some((_, theirs)), Some(stamp)) = (&mut self.stamps, packet.timestamp()) {
            *theirs = stamp;
        }
    }

    /// The kernel's end of the connection, as its socket has it.
    pub(crate) fn kernel_ends(&self) -> (SocketAddr, SocketAddr) {
        (self.here, self.there)
    }
}

impl Family {
    /// Our address and the one beyond the mirror.
    pub(crate) fn ends(self) -> (IpAddr, IpAddr) {
        use super::mirror::{HERE, HERE6, PEER, PEER6};
        match self {
            Self::V4 => (HERE.into(), PEER.into()),
            Self::V6 => (HERE6.into(), PEER6.into()),
        }
    }
}

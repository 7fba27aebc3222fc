//! One TCP segment in its IP packet: read, turned around, altered, written with fresh checksums.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpHeader, TcpOptionElement, TransportSlice};

const HOPS: u8 = 64;

/// A TCP segment and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) tcp: TcpHeader,
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    /// `None` for anything but TCP.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let packet = SlicedPacket::from_ip(bytes).ok()?;
        let (from, to): (IpAddr, IpAddr) = match packet.net? {
            NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Arp(_) => return None,
        };
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { return None };
        Some(Self { from, to, tcp: tcp.to_header(), payload: tcp.payload().to_vec() })
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        let ip = match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), HOPS),
            (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), HOPS),
            (from, to) => bail!("a packet from {from} to {to}"),
        };
        let mut bytes = Vec::new();
        ip.tcp_header(self.tcp.clone()).write(&mut bytes, &self.payload).context("building a packet")?;
        Ok(bytes)
    }

    pub(crate) fn source(&self) -> SocketAddr {
        SocketAddr::new(self.from, self.tcp.source_port)
    }

    pub(crate) fn destination(&self) -> SocketAddr {
        SocketAddr::new(self.to, self.tcp.destination_port)
    }

    /// The same packet as if the other end had sent it: addresses swapped, ports as they are.
    pub(crate) fn mirrored(&self) -> Self {
        Self { from: self.to, to: self.from, ..self.clone() }
    }

    /// The sequence number behind it.
    pub(crate) fn end(&self) -> u32 {
        let flags = u32::from(self.tcp.syn) + u32::from(self.tcp.fin);
        self.tcp.sequence_number.wrapping_add(self.payload.len() as u32).wrapping_add(flags)
    }

    /// A bare RST right behind this FIN: the one sequence number that ends a TIME_WAIT.
    pub(crate) fn reset_behind_fin(&self) -> Self {
        let mut packet = self.behind();
        packet.tcp.rst = true;
        packet
    }

    /// A bare ACK right behind this FIN, inside the window.
    pub(crate) fn ack_behind_fin(&self) -> Self {
        let mut packet = self.behind();
        packet.tcp.ack = true;
        packet
    }

    /// This segment with a timestamp from long before: PAWS rejects it.
    pub(crate) fn with_old_timestamp(&self) -> Option<Self> {
        let mut packet = self.clone();
        let mut elements = packet.tcp.options_iterator().collect::<Result<Vec<_>, _>>().ok()?;
        let old = self.timestamp()?.wrapping_sub(1_000_000);
        for element in &mut elements {
            if let TcpOptionElement::Timestamp(value, _) = element {
                *value = old;
            }
        }
        packet.tcp.set_options(&elements).ok()?;
        Some(packet)
    }

    /// The timestamp option: its own value.
    pub(crate) fn timestamp(&self) -> Option<u32> {
        self.tcp.options_iterator().find_map(|element| {
            if let Ok(TcpOptionElement::Timestamp(value, _)) = element { Some(value) } else { None }
        })
    }

    /// An empty segment without flags, right behind this one.
    fn behind(&self) -> Self {
        let mut packet = Self { payload: Vec::new(), ..self.clone() };
        packet.tcp.sequence_number = self.end();
        (packet.tcp.fin, packet.tcp.syn, packet.tcp.psh, packet.tcp.ack) = (false, false, false, false);
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A FIN of 10.77.0.1:443 with a timestamp.
    fn fin() -> Packet {
        let mut tcp = TcpHeader::new(443, 10_000, 9, 256);
        (tcp.fin, tcp.ack, tcp.acknowledgment_number) = (true, true, 5);
        let options =
            [TcpOptionElement::Noop, TcpOptionElement::Noop, TcpOptionElement::Timestamp(2 << 20, 7)];
        tcp.set_options(&options).expect("options");
        Packet { from: [10, 77, 0, 1].into(), to: [10, 77, 0, 2].into(), tcp, payload: Vec::new() }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let written = Packet::parse(&fin().bytes().expect("bytes")).expect("a packet");
        assert_eq!(written.source(), fin().source());
        assert_eq!((written.end(), written.timestamp()), (10, Some(2 << 20)));
        assert_eq!(written.mirrored().mirrored(), written);
    }

    #[test]
    fn alterations_are_where_they_belong() {
        let reset = fin().reset_behind_fin();
        assert_eq!((reset.tcp.rst, reset.tcp.fin, reset.tcp.sequence_number), (true, false, 10));
        assert!(!fin().ack_behind_fin().tcp.fin && fin().ack_behind_fin().tcp.ack);
        let old = fin().with_old_timestamp().expect("a timestamp");
        assert_eq!(old.timestamp(), Some((2 << 20) - 1_000_000));
    }

    #[test]
    fn other_protocols_are_not_ours() {
        assert_eq!(Packet::parse(&[0x45; 10]), None);
        let mut udp = fin().bytes().expect("bytes");
        udp[9] = 17;
        assert_eq!(Packet::parse(&udp), None);
    }
}

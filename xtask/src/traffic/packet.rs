//! One IP packet with TCP inside: what it carries, swapped ends, and alterations with the checksum redone.

/// Bits of the TCP flags byte.
const FIN: u8 = 1;
const RST: u8 = 4;
const ACK: u8 = 16;

const PROTOCOL_TCP: u8 = 6;

/// A whole IPv4 (without options) or IPv6 (without extension headers) packet that holds a TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet(Vec<u8>);

impl Packet {
    /// `None` for anything but TCP over plain IPv4 or IPv6.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        let (header, protocol) = match bytes.first()? {
            0x45 => (20, *bytes.get(9)?),
            first if first >> 4 == 6 => (40, *bytes.get(6)?),
            _ => return None,
        };
        (protocol == PROTOCOL_TCP && bytes.len() >= header + 20).then(|| Self(bytes.to_vec()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_fin(&self) -> bool {
        self.flags() & FIN != 0
    }

    /// The same packet as if the other end had sent it: addresses swapped, ports as they are.
    pub(crate) fn mirrored(&self) -> Self {
        let mut bytes = self.0.clone();
        let (start, length) = if self.is_v4() { (12, 4) } else { (8, 16) };
        let (source, rest) = bytes[start..].split_at_mut(length);
        source.swap_with_slice(&mut rest[..length]);
        Self(bytes)
    }

    /// A bare RST right behind this FIN: the one sequence number that ends a TIME_WAIT.
    pub(crate) fn reset_behind_fin(&self) -> Self {
        self.altered(RST, 1)
    }

    /// A bare ACK right behind this FIN, inside the window.
    pub(crate) fn ack_behind_fin(&self) -> Self {
        self.altered(ACK, 1)
    }

    /// This segment with a timestamp from long before: PAWS rejects it.
    pub(crate) fn with_old_timestamp(&self) -> Option<Self> {
        let mut packet = self.clone();
        let at = packet.timestamp_at()?;
        let value = u32::from_be_bytes(packet.0[at..at + 4].try_into().ok()?);
        packet.0[at..at + 4].copy_from_slice(&value.wrapping_sub(1_000_000).to_be_bytes());
        packet.redo_checksum();
        Some(packet)
    }

    fn altered(&self, flags: u8, forward: u32) -> Self {
        let mut packet = self.clone();
        let tcp = packet.tcp();
        let mut sequence = [0; 4];
        sequence.copy_from_slice(&packet.0[tcp + 4..tcp + 8]);
        let sequence = u32::from_be_bytes(sequence).wrapping_add(forward);
        packet.0[tcp + 4..tcp + 8].copy_from_slice(&sequence.to_be_bytes());
        packet.0[tcp + 13] = flags;
        packet.redo_checksum();
        packet
    }

    /// Where the timestamp option's own value stands.
    fn timestamp_at(&self) -> Option<usize> {
        let tcp = self.tcp();
        let end = tcp + usize::from(self.0[tcp + 12] >> 4) * 4;
        let mut at = tcp + 20;
        while at < end {
            match self.0[at] {
                0 => return None,
                1 => at += 1,
                8 => return Some(at + 2),
                _ => at += usize::from(*self.0.get(at + 1)?).max(2),
            }
        }
        None
    }

    fn is_v4(&self) -> bool {
        self.0[0] >> 4 == 4
    }

    /// Where the TCP header starts.
    fn tcp(&self) -> usize {
        if self.is_v4() { 20 } else { 40 }
    }

    fn flags(&self) -> u8 {
        self.0[self.tcp() + 13]
    }

    fn redo_checksum(&mut self) {
        let tcp = self.tcp();
        self.0[tcp + 16..tcp + 18].fill(0);
        let addresses = if self.is_v4() { 12..20 } else { 8..40 };
        let length = (self.0.len() - tcp) as u32;
        let sum = sum16(&self.0[addresses]) + sum16(&self.0[tcp..]) + u32::from(PROTOCOL_TCP) + length;
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        self.0[tcp + 16..tcp + 18].copy_from_slice(&(!folded as u16).to_be_bytes());
    }
}

fn sum16(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A FIN of 10.77.0.1:443 with a timestamp option, checksum not yet set.
    fn fin() -> Packet {
        let mut bytes = vec![0x45, 0, 0, 52, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2];
        bytes.extend([1, 187, 0x27, 0x10, 0, 0, 0, 9, 0, 0, 0, 5, 0x80, FIN | ACK, 1, 0, 0, 0, 0, 0]);
        bytes.extend([1, 1, 8, 10, 0, 0x20, 0, 0, 0, 0, 0, 7]);
        let mut packet = Packet::new(&bytes).unwrap();
        packet.redo_checksum();
        packet
    }

    /// Valid means: the sum over everything, checksum included, is all ones.
    fn valid(packet: &Packet) -> bool {
        let mut again = packet.clone();
        again.redo_checksum();
        again == *packet
    }

    #[test]
    fn swapping_keeps_the_checksum_and_undoes_itself() {
        let swapped = fin().mirrored();
        assert!(valid(&swapped) && swapped != fin());
        assert_eq!(swapped.mirrored(), fin());
    }

    #[test]
    fn alterations_are_where_they_belong() {
        let reset = fin().reset_behind_fin();
        assert_eq!((reset.flags(), reset.0[27], valid(&reset)), (RST, 10, true));
        assert!(!fin().ack_behind_fin().is_fin());
        let old = fin().with_old_timestamp().unwrap();
        assert_eq!(old.timestamp_at(), Some(44));
        assert!(old.0[44..48] < fin().0[44..48] && valid(&old));
    }

    #[test]
    fn other_protocols_are_not_ours() {
        assert_eq!(Packet::new(&[0x45; 10]), None);
        let mut udp = fin().0;
        udp[9] = 17;
        assert_eq!(Packet::new(&udp), None);
    }
}

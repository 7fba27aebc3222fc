//! How large the maps are made when nobody says so, and how the room for records is shared out.

use tw_trace_common::{
    config::RINGS,
    followed::{Ledger, Line, NEIGHBOURS, Neighbours},
};

use super::memory::Memory;

/// Kernel memory for each time-wait socket that there is to be room for, as lines: more of them than sockets, so that few
/// find theirs taken, and next to none find none (`followed` of the kernel side).
const SOCKET_BYTES: u64 = 146;
const LINE_BYTES: u64 = (size_of::<Line>() + size_of::<Neighbours>() / NEIGHBOURS as usize) as u64;
/// Of the owner's name beside each line, where owners are asked for.
const NAME_BYTES: u64 = 16;
/// This share of the memory goes to it at the most, where the limit of the namespaces is not known.
const SHARE: u64 = 256;
const LEAST: u64 = 1 << 16;
/// Under a limit on memory each of the three large maps may have this share of what is left: the other half is for
/// reading the kernel's types and symbols, and for the caches that writing makes.
const LIMITED_SHARE: u64 = 6;
/// And the records that wait this one.
const SPOOL_SHARE: u64 = 8;
/// They are taken down in no more than this, whatever the rings have: it is used when nobody reads what is told.
const MOST_SPOOL: u64 = 512 << 20;
/// Less than so many entries, or bytes of rings, help nobody.
const FEW: u64 = 1 << 12;
/// Of a full socket in the `SOCKETS` map.
const FULL_SOCKET_BYTES: u64 = 64;
const MOST: u64 = 1 << 20;

/// Room for as many sockets as there can be in TIME_WAIT, as far as that is known.
///
/// `limit` is `tcp_max_tw_buckets` of the one namespace that the run is about; a run about all namespaces gives
/// none, since each has a limit of its own and new ones come.
pub fn time_waits(limit: Option<u64>, memory: Memory) -> u32 {
    let wanted = match limit {
        Some(limit) => limit.checked_next_power_of_two().unwrap_or(MOST),
        // The power of two below, so as to stay within the share.
        None => 1 << memory.machine.map_or(LEAST, |bytes| bytes / SHARE / SOCKET_BYTES).max(1).ilog2(),
    };
    at_most(wanted.clamp(LEAST, MOST), SOCKET_BYTES, memory)
}

/// Bytes of the ring buffers: as wanted, or what the limit of the cgroup lets them have.
pub fn ring(wanted: u32, memory: Memory) -> u32 {
    at_most(wanted.into(), 1, memory)
}

/// Bytes for records that have left the ring buffers, of `ring` bytes, and wait to be handed on. The rings alone hold what half
/// a second of connections makes at full speed; a busy machine or a disk may keep records waiting for longer.
pub fn spool(ring: u32, memory: Memory) -> u32 {
    let wanted = u64::from(ring) * 4;
    u32::try_from(wanted.min(memory.left.map_or(MOST_SPOOL, |left| left / SPOOL_SHARE)).min(MOST_SPOOL))
        .unwrap_or(u32::MAX)
}

/// Places for full sockets: as wanted, or what the limit of the cgroup lets them have.
pub fn sockets(wanted: u32, memory: Memory) -> u32 {
    at_most(wanted.into(), FULL_SOCKET_BYTES, memory)
}

/// So many entries of so many bytes, or the power of two that fits into a map's share of what the cgroup may still use.
fn at_most(wanted: u64, entry_bytes: u64, memory: Memory) -> u32 {
    let most =
        memory.left.map_or(u64::MAX, |left| 1 << (left / LIMITED_SHARE / entry_bytes).max(FEW).ilog2());
    u32::try_from(wanted.min(most)).unwrap_or(1 << 31)
}

/// Whether the names of owners are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    Kept,
    Unwanted,
}

/// Lines of the table of time-wait sockets, so that so many find room.
pub fn lines(time_waits: u32, names: Names) -> u32 {
    let line_bytes = LINE_BYTES + if names == Names::Kept { NAME_BYTES } else { 0 };
    let wanted = (u64::from(time_waits) * SOCKET_BYTES / line_bytes).max(1);
    let most = u32::MAX / NEIGHBOURS * NEIGHBOURS;
    u32::try_from(wanted.next_multiple_of(NEIGHBOURS.into())).unwrap_or(most)
}

/// Ledgers of namespaces between two looks at them: each has a copy for each CPU.
pub fn ledgers(cpus: usize) -> u32 {
    const ALL_BYTES: usize = 4 << 20;
    let entries = ALL_BYTES / size_of::<Ledger>() / cpus.max(1);
    u32::try_from(entries.clamp(1 << 10, 1 << 12)).unwrap_or(1 << 10)
}

/// The ring buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// A power of two: CPU `n` writes into ring `n` modulo this.
    pub used: usize,
    /// Of each that is used.
    pub bytes: u32,
    /// Of each that is not: a map cannot be left out of the object.
    pub least: u32,
}

/// Shares out `total` bytes, a power of two; none gets less than a page.
pub fn rings(total: u32, cpus: usize, page: u32) -> Rings {
    let used = cpus.clamp(1, RINGS).next_power_of_two();
    Rings { used, bytes: (total / used as u32).max(page), least: page }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_follows_the_limit_or_the_memory() {
        let machine = |bytes| Memory { machine: Some(bytes), left: None };
        let unknown = Memory::default();
        assert_eq!(time_waits(Some(131_072), unknown), 131_072);
        assert_eq!(time_waits(Some(8_192), unknown), 65_536);
        assert_eq!(time_waits(Some(10_000_000), unknown), 1 << 20);
        assert_eq!(time_waits(None, machine(24 << 30)), 1 << 19);
        assert_eq!(time_waits(None, machine(4 << 30)), 65_536);
        assert_eq!(time_waits(None, machine(0)), 65_536);
        assert_eq!(time_waits(None, unknown), 65_536);
    }

    #[test]
    fn under_a_limit_all_maps_together_leave_half_of_it() {
        for left in [1u64 << 20, 64 << 20, 128 << 20, 1 << 30] {
            let memory = Memory { machine: Some(256 << 30), left: Some(left) };
            let maps = u64::from(time_waits(None, memory)) * SOCKET_BYTES
                + u64::from(ring(32 << 20, memory))
                + u64::from(sockets(1 << 17, memory)) * FULL_SOCKET_BYTES;
            assert!(maps <= left / 2 || left < 4 << 20, "{maps} of {left}");
            assert!(u64::from(spool(32 << 20, memory)) <= left / 8);
        }
        let plenty = Memory { machine: None, left: Some(4 << 30) };
        assert_eq!((ring(32 << 20, plenty), sockets(1 << 17, plenty)), (32 << 20, 1 << 17));
        assert_eq!(spool(32 << 20, plenty), 128 << 20);
        assert_eq!(spool(1 << 30, Memory::default()), 512 << 20);
        let none = Memory { machine: None, left: Some(0) };
        assert_eq!((time_waits(None, none), ring(32 << 20, none)), (4096, 4096));
    }

    #[test]
    fn there_are_more_lines_than_sockets_in_whole_neighbourhoods() {
        let kept = [0, 1, 100, 65_536].map(|sockets| lines(sockets, Names::Kept));
        assert_eq!(kept, [64, 64, 192, 115_328]);
        assert_eq!(lines(65_536, Names::Unwanted), 142_848);
        assert_eq!(lines(u32::MAX, Names::Kept), u32::MAX - 63);
    }

    #[test]
    fn ledgers_take_no_more_on_large_machines() {
        assert_eq!([1, 2, 8, 16, 256].map(ledgers), [4096, 4096, 4096, 2048, 1024]);
    }

    #[test]
    fn rings_share_the_room_and_none_is_smaller_than_a_page() {
        assert_eq!(rings(32 << 20, 1, 4096), Rings { used: 1, bytes: 32 << 20, least: 4096 });
        assert_eq!(rings(32 << 20, 3, 4096), Rings { used: 4, bytes: 8 << 20, least: 4096 });
        assert_eq!(rings(32 << 20, 200, 65536), Rings { used: 8, bytes: 4 << 20, least: 65536 });
        assert_eq!(rings(4096, 2, 4096), Rings { used: 2, bytes: 4096, least: 4096 });
    }
}

//! How large the maps are made when nobody says so, and how the room for records is shared out.

use std::fs;

use tw_trace_common::{
    config::RINGS,
    followed::{Line, NEIGHBOURS, Neighbours},
};

/// Kernel memory for each time-wait socket that there is to be room for, as lines: more of them than sockets, so that few
/// find theirs taken, and next to none find none (`followed` of the kernel side).
const SOCKET_BYTES: u64 = 146;
const LINE_BYTES: u64 = (size_of::<Line>() + size_of::<Neighbours>() / NEIGHBOURS as usize) as u64;
/// Of the owner's name beside each line, where owners are asked for.
const NAME_BYTES: u64 = 16;
/// This share of the memory goes to it at the most, where the limit of the namespaces is not known.
const SHARE: u64 = 256;
const LEAST: u64 = 1 << 16;
const MOST: u64 = 1 << 20;

/// Room for as many sockets as there can be in TIME_WAIT, as far as that is known.
///
/// `limit` is `tcp_max_tw_buckets` of the one namespace that the run is about; a run about all namespaces gives
/// none, since each has a limit of its own and new ones come.
pub fn time_waits(limit: Option<u64>, memory_bytes: Option<u64>) -> u32 {
    let wanted = match limit {
        Some(limit) => limit.checked_next_power_of_two().unwrap_or(MOST),
        // The power of two below, so as to stay within the share.
        None => 1 << memory_bytes.map_or(LEAST, |bytes| bytes / SHARE / SOCKET_BYTES).max(1).ilog2(),
    };
    u32::try_from(wanted.clamp(LEAST, MOST)).unwrap_or(1 << 16)
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

/// `MemTotal` of /proc/meminfo.
pub fn memory_bytes() -> Option<u64> {
    parse_memory(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_memory(meminfo: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_follows_the_limit_or_the_memory() {
        assert_eq!(time_waits(Some(131_072), None), 131_072);
        assert_eq!(time_waits(Some(8_192), None), 65_536);
        assert_eq!(time_waits(Some(10_000_000), None), 1 << 20);
        assert_eq!(time_waits(None, Some(24 << 30)), 1 << 19);
        assert_eq!(time_waits(None, Some(4 << 30)), 65_536);
        assert_eq!(time_waits(None, Some(0)), 65_536);
        assert_eq!(time_waits(None, None), 65_536);
    }

    #[test]
    fn there_are_more_lines_than_sockets_in_whole_neighbourhoods() {
        let kept = [0, 1, 100, 65_536].map(|sockets| lines(sockets, Names::Kept));
        assert_eq!(kept, [64, 64, 192, 115_328]);
        assert_eq!(lines(65_536, Names::Unwanted), 142_848);
        assert_eq!(lines(u32::MAX, Names::Kept), u32::MAX - 63);
    }

    #[test]
    fn rings_share_the_room_and_none_is_smaller_than_a_page() {
        assert_eq!(rings(32 << 20, 1, 4096), Rings { used: 1, bytes: 32 << 20, least: 4096 });
        assert_eq!(rings(32 << 20, 3, 4096), Rings { used: 4, bytes: 8 << 20, least: 4096 });
        assert_eq!(rings(32 << 20, 200, 65536), Rings { used: 8, bytes: 4 << 20, least: 65536 });
        assert_eq!(rings(4096, 2, 4096), Rings { used: 2, bytes: 4096, least: 4096 });
    }

    #[test]
    fn memory_is_read_from_meminfo() {
        assert_eq!(parse_memory("MemTotal:       24576 kB\nMemFree: 1 kB\n"), Some(24576 << 10));
        assert_eq!(parse_memory("MemFree: 1 kB\n"), None);
        assert!(memory_bytes().is_some());
    }
}

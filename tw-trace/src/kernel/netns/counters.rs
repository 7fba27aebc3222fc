//! The kernel's own TIME_WAIT counters and TCP settings of the network namespace that the calling thread is in.
//!
//! /proc/net is the process's, so /proc/thread-self/net is read; /proc/sys/net follows the thread that opens
//! it (`net_ctl_header_lookup`, 5.10 – 7.3).

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

/// TcpExt counters of interest; each is there or not, by kernel.
const TCP_EXT: &[&str] = &[
    "TW",
    "TWKilled",
    "TWRecycled",
    "TCPTimeWaitOverflow",
    "PAWSTimewait",
    "PAWSEstab",
    "TCPACKSkippedTimeWait",
];

/// `net.ipv4` settings that have, or are thought to have, to do with TIME_WAIT.
/// `tcp_tw_timeout` is of vendor kernels, `tcp_tw_reuse_delay` of 6.14 and up.
const SYSCTLS: &[&str] = &[
    "tcp_max_tw_buckets",
    "tcp_fin_timeout",
    "tcp_tw_reuse",
    "tcp_tw_reuse_delay",
    "tcp_tw_timeout",
    "tcp_rfc1337",
    "tcp_timestamps",
    "ip_local_port_range",
];

/// What the kernel has counted in one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub tcp_ext: BTreeMap<&'static str, u64>,
    /// Time-wait sockets alive now, both substates.
    pub tw: u64,
}

impl Counters {
    pub fn read() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
        let netstat = read("/proc/thread-self/net/netstat")?;
        let sockstat = read("/proc/thread-self/net/sockstat")?;
        Self::parse(&netstat, &sockstat)
    }

    /// From the texts of /proc/net/netstat and /proc/net/sockstat.
    pub fn parse(netstat: &str, sockstat: &str) -> Result<Self> {
        let tw = parse_tw(sockstat).context("/proc/net/sockstat has no figure for tw")?;
        Ok(Self { tcp_ext: parse_tcp_ext(netstat), tw })
    }
}

/// TCP settings as the kernel writes them; a setting that the kernel lacks is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sysctls(pub BTreeMap<&'static str, String>);

impl Sysctls {
    pub fn read() -> Self {
        let value = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok();
        Self(SYSCTLS.iter().filter_map(|name| Some((*name, value(name)?.trim().to_owned()))).collect())
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.parse().ok()
    }

    /// `ip_local_port_range`, first and last.
    pub fn port_range(&self) -> Option<(u16, u16)> {
        let (first, last) = self.0.get("ip_local_port_range")?.split_once(char::is_whitespace)?;
        Some((first.parse().ok()?, last.trim().parse().ok()?))
    }
}

/// Pairs of lines: `TcpExt: NAME…` and `TcpExt: VALUE…`.
fn parse_tcp_ext(netstat: &str) -> BTreeMap<&'static str, u64> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let pairs = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
    pairs
        .filter_map(|(name, value)| {
            let known = TCP_EXT.iter().find(|known| **known == name)?;
            Some((*known, value.parse().ok()?))
        })
        .collect()
}

/// `TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 283`.
fn parse_tw(sockstat: &str) -> Option<u64> {
    let fields = sockstat.lines().find_map(|line| line.strip_prefix("TCP: "))?;
    fields.split_ascii_whitespace().skip_while(|field| *field != "tw").nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_ext_is_read_by_name() {
        let netstat = "TcpExt: SyncookiesSent TW TWRecycled TCPTimeWaitOverflow\nTcpExt: 1 2 3 x\n\
                       IpExt: TW\nIpExt: 9\n";
        assert_eq!(parse_tcp_ext(netstat), BTreeMap::from([("TW", 2), ("TWRecycled", 3)]));
        assert!(parse_tcp_ext("").is_empty());
        assert!(parse_tcp_ext("TcpExt: TW\n").is_empty());
    }

    #[test]
    fn sockstat_tells_living_sockets() {
        let sockstat = "sockets: used 13\nTCP: inuse 1 orphan 0 tw 42 alloc 1 mem 283\nUDP: inuse 0 mem 0\n";
        assert_eq!(parse_tw(sockstat), Some(42));
        assert_eq!(parse_tw("TCP: inuse 1 tw\n"), None);
        assert_eq!(parse_tw("UDP: tw 1\n"), None);
    }

    #[test]
    fn the_port_range_is_two_numbers() {
        let range =
            |text: &str| Sysctls(BTreeMap::from([("ip_local_port_range", text.to_owned())])).port_range();
        assert_eq!(range("32768\t60999"), Some((32768, 60999)));
        assert_eq!(range("32768"), None);
        assert_eq!(range("a b"), None);
    }

    #[test]
    fn this_namespace_can_be_read() {
        assert!(Counters::read().unwrap().tcp_ext.contains_key("TW"));
        assert!(Sysctls::read().number("tcp_max_tw_buckets").is_some());
    }
}

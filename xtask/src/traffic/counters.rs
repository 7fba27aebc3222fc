//! The kernel's own counters of a network namespace: the independent truth that runs are held against.

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// What the kernel has counted in the calling thread's network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// TcpExt TW: time-wait sockets whose timeout was above 4 s.
    pub tw: u64,
    /// TcpExt TWKilled: time-wait sockets whose timeout was 4 s or less.
    pub tw_killed: u64,
    /// TcpExt TWRecycled: taken over by a connect().
    pub tw_recycled: u64,
    /// TcpExt TCPTimeWaitOverflow: closed without TIME_WAIT.
    pub overflow: u64,
}

impl Counters {
    /// Reads them; `thread-self`, because `/proc/net` is the main thread's namespace.
    pub fn read() -> Result<Self> {
        Self::parse(&netstat()?)
    }

    fn parse(text: &str) -> Result<Self> {
        let value = |name: &str| value(text, name);
        Ok(Self {
            tw: value("TW")?,
            tw_killed: value("TWKilled")?,
            tw_recycled: value("TWRecycled")?,
            overflow: value("TCPTimeWaitOverflow")?,
        })
    }

    /// What has been counted since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            tw: self.tw - earlier.tw,
            tw_killed: self.tw_killed - earlier.tw_killed,
            tw_recycled: self.tw_recycled - earlier.tw_recycled,
            overflow: self.overflow - earlier.overflow,
        }
    }

    /// Time-wait sockets that have begun, from Linux 6.1 on; before, those whose timer has fired.
    pub fn armed_or_fired(&self) -> u64 {
        self.tw + self.tw_killed
    }

    pub fn to_json(&self) -> Value {
        json!({
            "TW": self.tw,
            "TWKilled": self.tw_killed,
            "TWRecycled": self.tw_recycled,
            "TCPTimeWaitOverflow": self.overflow,
        })
    }
}

/// One counter of TcpExt in the calling thread's network namespace.
pub fn tcp_ext(name: &str) -> Result<u64> {
    value(&netstat()?, name)
}

fn netstat() -> Result<String> {
    let path = "/proc/thread-self/net/netstat";
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

/// A counter in the text of `/proc/net/netstat`: lines in pairs, names above values.
fn value(text: &str, wanted: &str) -> Result<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        bail!("/proc/net/netstat has no TcpExt lines");
    };
    let column = names.split_ascii_whitespace().position(|name| name == wanted);
    let value = column.and_then(|column| values.split_ascii_whitespace().nth(column));
    value.with_context(|| format!("TcpExt has no {wanted}"))?.parse().context("TcpExt: not a number")
}

/// Living time-wait sockets of the calling thread's namespace (`tw` in sockstat), both substates.
pub fn living() -> Result<u64> {
    let path = "/proc/thread-self/net/sockstat";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let mut words = text.split_ascii_whitespace();
    words
        .find(|word| *word == "tw")
        .and_then(|_| words.next())
        .context("sockstat has no tw")?
        .parse()
        .context("sockstat tw")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "TcpExt: SyncookiesSent TW TWRecycled TWKilled TCPTimeWaitOverflow\n\
                        TcpExt: 1 20 3 4 5\nIpExt: InNoRoutes\nIpExt: 0\n";

    #[test]
    fn reads_by_name_not_by_position() {
        let counters = Counters::parse(TEXT).unwrap();
        assert_eq!(counters, Counters { tw: 20, tw_killed: 4, tw_recycled: 3, overflow: 5 });
        assert_eq!(counters.since(&counters), Counters::default());
        assert_eq!(counters.armed_or_fired(), 24);
        assert!(Counters::parse("IpExt: InNoRoutes\n").is_err());
    }
}

//! What a tracer told of a load, and what it lost: read from its output after it has ended.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// SYN_SENT, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE; SYN_RECV, ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSE.
pub(crate) const CHANGES: u64 = 10;
/// Of these, the changes out of a state whose beginning was seen: all but the first of each end.
pub(crate) const DWELLS: u64 = 8;

/// What to read from an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// tw-trace's own summary, the last line.
    Summary,
    /// Of each line that begins so: an event.
    Lines(&'static str),
    /// Of bpftrace's histograms: the counts of their buckets, each one event.
    Buckets,
    /// Of each different line: a TIME_WAIT socket.
    Sockets,
    /// `records N`.
    Count,
    /// It is for people, or there is nothing.
    Unread,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// Events in the output that can be counted; tw-trace tells only what it lost.
    pub(crate) told: Option<u64>,
    pub(crate) made: Option<u64>,
    pub(crate) lost: u64,
    /// What tw-trace says of its own run.
    pub(crate) balanced: Option<bool>,
}

impl Account {
    fn of(told: u64, made: u64) -> Self {
        Self { told: Some(told), made: Some(made), lost: made.saturating_sub(told), balanced: None }
    }
}

impl Told {
    pub(crate) fn read(self, output: &mut File, connections: u32) -> Result<Option<Account>> {
        let connections = u64::from(connections);
        Ok(Some(match self {
            Self::Unread => return Ok(None),
            Self::Summary => summary(output)?,
            Self::Lines(start) => {
                let mut told = 0;
                each_line(output, |line| told += u64::from(line.starts_with(start)))?;
                Account::of(told, CHANGES * connections)
            }
            Self::Count => {
                let mut told = None;
                each_line(output, |line| {
                    told = line.strip_prefix("records ").and_then(|count| count.trim().parse().ok()).or(told);
                })?;
                Account::of(told.context("it told no number of records")?, CHANGES * connections)
            }
            Self::Buckets => {
                let mut told = 0;
                each_line(output, |line| told += bucket(line).unwrap_or(0))?;
                Account::of(told, DWELLS * connections)
            }
            Self::Sockets => {
                let mut different = HashSet::new();
                // Its columns are as wide as what stands in them, and timers go on: only the ends name a socket.
                each_line(output, |line| {
                    different.insert(ends(line));
                })?;
                Account::of(different.len() as u64, connections)
            }
        }))
    }
}

fn each_line(output: &mut File, mut on: impl FnMut(&str)) -> Result<()> {
    output.seek(SeekFrom::Start(0))?;
    let mut lines = BufReader::with_capacity(1 << 20, output);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).context("reading the output")? > 0 {
        on(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(())
}

/// `[16, 32)      1234 |@@@@    |`
fn bucket(line: &str) -> Option<u64> {
    let (range, bar) = line.split_once(" |")?;
    (range.starts_with('[') && bar.trim_end().ends_with('|')).then_some(())?;
    range.split_whitespace().next_back()?.parse().ok()
}

/// `0      0      127.0.0.1:40000      127.0.1.1:9001`, of `ss -tanH state time-wait`.
fn ends(line: &str) -> String {
    line.split_whitespace().skip(2).take(2).collect::<Vec<_>>().join(" ")
}

fn summary(output: &mut File) -> Result<Account> {
    const SUMMARY: u64 = 64 * 1024;
    let length = output.metadata()?.len();
    output.seek(SeekFrom::Start(length.saturating_sub(SUMMARY)))?;
    let mut end = Vec::new();
    output.read_to_end(&mut end)?;
    let end = String::from_utf8_lossy(&end);
    let summary: Value = serde_json::from_str(end.lines().last().context("tw-trace told nothing")?)
        .context("the last line is no summary")?;
    let lost = summary["lost"].as_u64().context("the summary tells no losses")?;
    Ok(Account { told: None, made: None, lost, balanced: Some(summary["balanced"] == true) })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read(told: Told, text: &str) -> Account {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text.as_bytes()).expect("writing");
        told.read(&mut file, 1).expect("an account").expect("something to read")
    }

    #[test]
    fn lines_are_events_and_headings_are_not() {
        let account = read(Told::Lines("ff"), "SKADDR C-PID\nff01 7 2\nff01 2 1\n");
        assert_eq!((account.told, account.made, account.lost), (Some(2), Some(10), 8));
    }

    #[test]
    fn buckets_are_added_up() {
        let text = "@dwell[1]:\n[0]                    3 |@@      |\n[2, 4)                 4 |@@@@@@@@|\n\n\
                    @dwell[2]: \n[1K, 2K)              1 |@@|\n@x: 12\n";
        let account = read(Told::Buckets, text);
        assert_eq!((account.told, account.made, account.lost), (Some(8), Some(8), 0));
    }

    #[test]
    fn a_socket_that_is_listed_twice_is_one() {
        let line = "0      0          127.0.0.1:40000      127.0.1.1:9001\n";
        let wider = "0 0 127.0.0.1:40000 127.0.1.1:9001   timer\n";
        assert_eq!(read(Told::Sockets, &format!("{line}{wider}")).told, Some(1));
    }

    #[test]
    fn the_summary_is_the_last_line() {
        let text = "{\"event\":\"header\"}\n{\"event\":\"summary\",\"lost\":3,\"balanced\":true}\n";
        let account = read(Told::Summary, text);
        assert_eq!((account.lost, account.balanced, account.told), (3, Some(true), None));
    }
}

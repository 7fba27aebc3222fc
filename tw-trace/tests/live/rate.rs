//! Everything about 300,000 connections, as fast as the machine makes them, delivered to a file.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{attached, ended_within, live, loud, tw_trace, unseen};
use crate::traffic::Traffic;

const CONNECTIONS: u32 = 300_000;
/// SYN_SENT, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE; SYN_RECV, ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSE.
pub(crate) const CHANGES: u64 = 10;
/// A listener of the generator: CLOSE → LISTEN → CLOSE.
pub(crate) const LISTENER: u64 = 2;
/// Noise of the machine is not to fail this; the figure that counts is printed.
const FLOOR: f64 = 0.5;
/// 60 s, and a slot of the wheel at any HZ.
const UNTIL_ALL_EXPIRED: Duration = Duration::from_secs(66);

/// One client thread, one server thread, one request under way at a time.
#[test]
fn three_hundred_thousand_connections_lose_nothing() {
    live("three_hundred_thousand_connections_lose_nothing", || {
        everything_to_a_file(1);
    });
}

/// All that two cores give: two such pairs of threads.
#[test]
fn three_hundred_thousand_connections_with_both_cores_busy_lose_nothing() {
    live("three_hundred_thousand_connections_with_both_cores_busy_lose_nothing", || {
        everything_to_a_file(2);
    });
}

/// As fast as they were made, they expire a minute later: two seconds' worth of connections of a CPU in one burst.
#[test]
fn half_a_million_expiries_in_bursts_are_all_told() {
    live("half_a_million_expiries_in_bursts_are_all_told", || {
        const MANY: u64 = 500_000;
        let _loud = loud();
        let mut traffic = Traffic::rate(MANY as u32, 2);
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let tracer = to_file(traffic.netns, file.path(), &["--events", "tw_exit"]);
        traffic.go(1);
        sleep(UNTIL_ALL_EXPIRED);
        stop(tracer);
        let Counts { exit, summary, .. } = count(file.path());
        unseen(summary["lost_by"]["exit_missed"].as_u64().unwrap_or(0));
        unseen(MANY.saturating_sub(summary["entered"].as_u64().unwrap_or(MANY)));
        assert_eq!(summary["lost"], 0, "{summary}");
        assert_eq!(summary["balanced"], true, "{summary}");
        assert_eq!(
            (&summary["entered"], &summary["exited"]["expired"]),
            (&MANY.into(), &MANY.into()),
            "{summary}"
        );
        assert_eq!(exit, MANY, "tw_exit lines");
    });
}

/// Untraced, traced, untraced: what changes with time falls on both alike. All namespaces are kept to the end,
/// for what ending one costs is not to be measured either.
fn everything_to_a_file(pairs: u32) {
    let _loud = loud();
    let [mut before, mut traced, mut after] = [(); 3].map(|()| Traffic::rate(CONNECTIONS, pairs));
    let before = before.go(1).remove(0);
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let tracer = to_file(traced.netns, file.path(), &[]);
    let report = traced.go(1).remove(0);
    stop(tracer);
    let after = after.go(1).remove(0);
    let kept = figures([&before, &after], &report);
    check(&count(file.path()), &report, pairs);
    assert!(kept >= FLOOR, "{kept:.2} of the untraced rate");
}

/// Prints what tracing cost; gives the share of the rate that was kept.
fn figures(untraced: [&Value; 2], traced: &Value) -> f64 {
    let figure = |report: &Value, name: &str| report[name].as_f64().expect("a figure");
    let mean = |name: &str| untraced.iter().map(|report| figure(report, name)).sum::<f64>() / 2.0;
    let (rate, cpu) = ("per_second", "cpu_us_per_connection");
    let kept = figure(traced, rate) / mean(rate);
    println!(
        "untraced {:.0} and {:.0} connections/s at {:.1} µs of CPU; everything traced to a file {:.0} at {:.1} µs: \
         {:.1}% of the rate kept",
        figure(untraced[0], rate),
        figure(untraced[1], rate),
        mean(cpu),
        figure(traced, rate),
        figure(traced, cpu),
        kept * 100.0
    );
    kept
}

pub(crate) fn stop(tracer: Child) {
    kill(Pid::from_raw(tracer.id() as i32), Signal::SIGINT).expect("stopping tw-trace");
    assert!(ended_within(tracer, Duration::from_mins(2)).status.success());
}

pub(crate) fn to_file(netns: u64, path: &std::path::Path, more: &[&str]) -> Child {
    attached(
        Command::new(tw_trace()).args(["trace", "--json", "--netns", &netns.to_string()]).args(more),
        path,
    )
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) state: u64,
    pub(crate) enter: u64,
    exit: u64,
    pub(crate) summary: Value,
}

/// Three million lines: told apart by how they begin.
pub(crate) fn count(path: &std::path::Path) -> Counts {
    let mut counts = Counts::default();
    let mut lines = BufReader::new(File::open(path).expect("opening the file"));
    let mut line = String::new();
    while lines.read_line(&mut line).expect("reading the file") > 0 {
        match line.split('"').nth(3) {
            Some("state") => counts.state += 1,
            // The FIN_WAIT2 mini-sockets among them come a second time when they turn.
            Some("tw_enter") => counts.enter += u64::from(line.contains(r#""substate":"TIME_WAIT""#)),
            Some("tw_exit") => counts.exit += 1,
            Some("summary") => counts.summary = serde_json::from_str(&line).expect("the summary"),
            _ => {}
        }
        line.clear();
    }
    counts
}

fn check(counts: &Counts, report: &Value, pairs: u32) {
    let (summary, made) = (&counts.summary, u64::from(CONNECTIONS));
    let changes = CHANGES * made + LISTENER * u64::from(pairs);
    assert_eq!(summary["lost"], 0, "{summary}");
    // Nothing else tells of changes that a kernel hid; that each run of the program is a line is shown by `runs`.
    unseen(changes.saturating_sub(counts.state) + made.saturating_sub(counts.enter));
    assert_eq!(summary["balanced"], true, "{summary}");
    assert_eq!(counts.state, changes, "state lines");
    assert_eq!(counts.enter, made, "tw_enter lines");
    assert_eq!(summary["entered"], made);
    assert_eq!(report["tcpext"]["TW"], made, "the kernel's own count");
    let exited: u64 = summary["exited"].as_object().expect("exits").values().filter_map(Value::as_u64).sum();
    assert_eq!(counts.exit, exited, "tw_exit lines");
}

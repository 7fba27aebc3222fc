//! Each filter gives exactly the events that it names: no other, and none less than an unfiltered run.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{ended, live, quiet, tw_trace};
use crate::run::{Run, Tracer, has_port};
use crate::traffic::Traffic;

const COUNT: u32 = 5;
const NAMES: &[&str] = &["client_first", "server_first", "ipv6", "v4_mapped", "reused", "linger0"];

/// Whether a filter leaves this event of an unfiltered run; the number is the traffic's pid.
type Keep = fn(&Value, u32) -> bool;

/// Options, PID standing for the traffic's pid, and what they leave.
const CASES: &[(&[&str], Keep)] = &[
    (&["--pid", "PID"], |event, pid| event["pid"] == pid),
    (&["--pid", "1"], |_, _| false),
    (&["--comm", "tw-server"], |event, _| event["comm"] == "tw-server"),
    (&["--port", "8001"], |event, _| has_port(event, 8001)),
    (&["--local", "127.0.0.0/8:8002"], |event, _| event["lport"] == 8002),
    (&["--remote", "[::1]:8006"], |event, _| event["rport"] == 8006),
    (&["--local", "10.0.0.0/8"], |_, _| false),
    (&["--family", "6"], |event, _| event["family"] == "ipv6"),
    (&["--family", "4", "--port", "8014"], |event, _| has_port(event, 8014)),
    (&["--events", "state", "--state", "LAST_ACK"], |event, _| {
        event["old"] == "LAST_ACK" || event["new"] == "LAST_ACK"
    }),
    (&["--events", "tw_exit", "--reason", "reused"], |event, _| event["reason"] == "reused"),
    (&["--events", "tw_enter"], |event, _| event["event"] == "tw_enter"),
];

#[test]
fn filters_give_exactly_the_matching_events() {
    live("filters_give_exactly_the_matching_events", || {
        let _quiet = quiet();
        let mut traffic = Traffic::scenarios(NAMES, COUNT);
        let all = Tracer::of_netns(traffic.netns, &[]);
        let pid = traffic.pid.to_string();
        let filtered: Vec<_> = CASES
            .iter()
            .map(|(options, _)| {
                let options: Vec<_> = options
                    .iter()
                    .map(|option| if *option == "PID" { pid.as_str() } else { option })
                    .collect();
                Tracer::of_netns(traffic.netns, &options)
            })
            .collect();
        traffic.go(NAMES.len());
        let all = all.interrupt();
        all.assert_clean();
        assert!(!all.events.is_empty());
        for (tracer, (options, keep)) in filtered.into_iter().zip(CASES) {
            let run = tracer.interrupt();
            assert!(run.status.success(), "{options:?}: {}", run.stderr);
            assert_eq!(run.summary["lost"], 0, "{options:?}: {}", run.summary);
            let wanted = keys(&all, |event| keep(event, traffic.pid));
            assert_eq!(keys(&run, |_| true), wanted, "{options:?}");
        }
    });
}

/// What identifies an event in the eyes of every tracer, sorted; times differ by the programs' order.
fn keys(run: &Run, keep: impl Fn(&Value) -> bool) -> Vec<String> {
    let part = ["event", "laddr", "lport", "raddr", "rport", "old", "new", "substate", "reason", "pid"];
    let key = |event: &Value| part.map(|name| event[name].to_string()).join(" ");
    let mut keys: Vec<_> = run.events.iter().filter(|event| keep(event)).map(key).collect();
    keys.sort();
    keys
}

#[test]
fn other_namespaces_are_not_told() {
    live("other_namespaces_are_not_told", || {
        let _quiet = quiet();
        let mut one = Traffic::scenarios(&["client_first"], COUNT);
        let mut other = Traffic::scenarios(&["client_first"], COUNT);
        let tracer = Tracer::of_netns(one.netns, &[]);
        other.go(1);
        one.go(1);
        let run = tracer.interrupt();
        run.assert_clean();
        assert!(run.events.iter().all(|event| event["netns"] == one.netns));
        assert_eq!(run.summary["entered"], COUNT);
    });
}

/// Refused before anything is looked at, so these need neither root nor a kernel.
#[test]
fn what_no_filter_can_mean_is_refused() {
    for (options, said) in [
        (["--local", "10.0.0.0/33"], "10.0.0.0/33"),
        (["--remote", "10.0.0"], "10.0.0"),
        (["--port", "70000"], "70000"),
        (["--port", "0"], "0"),
        (["--state", "FINWAIT"], "FIN_WAIT1"),
        (["--reason", "bored"], "expired"),
        (["--family", "5"], "5"),
        (["--pid", "me"], "me"),
        (["--netns", "no-such-namespace"], "no-such-namespace"),
        (["--duration", "soon"], "soon"),
    ] {
        refused(options, said);
    }
}

/// Namespaces have inodes from 0xF0000000 up: nothing could ever match.
#[test]
fn a_namespace_that_cannot_be_is_refused() {
    live("a_namespace_that_cannot_be_is_refused", || {
        refused(["--netns", "1"], "namespace");
    });
}

fn refused(options: [&str; 2], said: &str) {
    let mut command = Command::new(tw_trace());
    command.arg("trace").args(options).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = ended(command.spawn().expect("running tw-trace"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{options:?}: {stderr}");
    assert!(stderr.contains(said) && output.stdout.is_empty(), "{options:?}: {stderr}");
}

//! Times are those of the kernel's clock and of the wall clock, also where the process has a clock of its own.

use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::harness::{live, quiet, tw_trace};
use crate::run::{Run, Tracer};
use crate::skip::skip;
use crate::traffic::Traffic;

/// In a time namespace (LXC, podman, restored containers) CLOCK_MONOTONIC is not what the kernel side has.
#[test]
fn a_time_namespace_changes_no_time() {
    const NAME: &str = "a_time_namespace_changes_no_time";
    live(NAME, || {
        let _quiet = quiet();
        if !std::path::Path::new("/proc/self/ns/time").exists() {
            return skip(NAME, "this kernel has no time namespaces");
        }
        for offset in ["-100", "86400"] {
            let mut traffic = Traffic::scenarios(&["client_first"], 5);
            let mut command = Command::new("unshare");
            command.args(["--time", "--monotonic", offset, "--boottime", offset, "--fork"]).arg(tw_trace());
            command.args(["trace", "--json", "--duration", "4s", "--netns", &traffic.netns.to_string()]);
            let began = SystemTime::now();
            let tracer = Tracer::spawn(command);
            traffic.go(1);
            let Run { events, header, summary, stderr, .. } = tracer.finish();
            let enters: Vec<_> = events.iter().filter(|event| event["event"] == "tw_enter").collect();
            assert_eq!(enters.len(), 5, "{offset}: {events:?} {stderr}");
            assert_eq!(summary["balanced"], true, "{offset}: {summary}");
            let ns = |value: &Value, key: &str| value[key].as_u64().expect("a time");
            let after = Duration::from_nanos(ns(enters[0], "mono_ns") - ns(&header, "mono_ns"));
            assert!(after < Duration::from_secs(10), "{offset}: {after:?} after the header");
            let elapsed = Duration::from_nanos(ns(&summary, "elapsed_ns"));
            assert!(
                (Duration::from_secs(3)..Duration::from_secs(20)).contains(&elapsed),
                "{offset}: {elapsed:?}"
            );
            let at =
                humantime::parse_rfc3339(enters[0]["ts"].as_str().expect("a time of day")).expect("RFC 3339");
            assert!(at >= began && at <= SystemTime::now(), "{offset}: {at:?}");
        }
    });
}

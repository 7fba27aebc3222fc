//! How long TIME_WAIT really lasts, whose it is, and that the parts of the time add up.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::harness::{live, loud};
use crate::run::{Run, Tracer, ends, ns};
use crate::traffic::Traffic;

const CONNECTIONS: u32 = 2_000;
/// How late a timer may fire on a quiet machine.
const LATE_NS: u64 = 50_000_000;

#[test]
fn two_thousand_connections_live_as_long_as_the_wheel_says() {
    live("two_thousand_connections_live_as_long_as_the_wheel_says", || {
        // Alone: it is about milliseconds, and every other test's tracer is on its timers too.
        let _alone = loud();
        let mut traffic = Traffic::paced(CONNECTIONS, 500);
        let tracer = Tracer::of_netns(traffic.netns, &["--duration", "75s"]);
        let report = traffic.go(1);
        let run = tracer.finish();
        run.assert_clean();
        counts(&run, &report[0]);
        let exits = run.of("tw_exit");
        exits.iter().for_each(|exit| duration(exit));
        exits.iter().for_each(|exit| owner(exit, traffic.pid));
        parts_add_up(&run);
    });
}

/// A server that is held up for 40 ms lets its client pass through a FIN_WAIT2 mini-socket: the same socket,
/// perhaps with a second tw_enter. How that is told is another test's business.
fn passed_fin_wait2(exit: &Value) -> bool {
    ns(&exit["fin_wait2_ns"]) > 0
}

fn counts(run: &Run, report: &Value) {
    let entered: HashSet<u64> = run.of("tw_enter").iter().map(|enter| ns(&enter["cookie"])).collect();
    assert_eq!(entered.len(), CONNECTIONS as usize, "connections with a tw_enter");
    let exits = run.of("tw_exit");
    assert_eq!(exits.len(), CONNECTIONS as usize, "tw_exit");
    assert_eq!(run.summary["entered"], CONNECTIONS);
    assert_eq!(run.summary["exited"]["expired"], CONNECTIONS);
    assert_eq!(run.summary["live"], 0);
    assert_eq!(report["tcpext"]["TW"], CONNECTIONS, "the kernel's own count");
    let direct = exits.iter().filter(|exit| !passed_fin_wait2(exit)).count();
    assert!(direct > 1_900, "only {direct} went straight to TIME_WAIT");
}

fn duration(exit: &Value) {
    assert_eq!(exit["reason"], "expired", "{exit}");
    if passed_fin_wait2(exit) {
        return;
    }
    assert_eq!(exit["entered"], "exact", "{exit}");
    let (duration, timeout) = (ns(&exit["duration_ns"]), ns(&exit["timeout_ns"]));
    let longest = timeout + ns(&exit["wheel"]["granularity_ns"]) + LATE_NS;
    assert!((timeout..=longest).contains(&duration), "{duration} is not in {timeout}..={longest}: {exit}");
}

fn owner(exit: &Value, pid: u32) {
    assert_eq!(exit["pid"], pid, "{exit}");
    assert_eq!(exit["comm"], xtask::traffic::CLIENT_COMM, "{exit}");
}

/// timeout + rounding + lateness is the time since the last arming, to within a tick.
fn parts_add_up(run: &Run) {
    let tick = ns(&run.header["tick_ns"]);
    let mut armed: HashMap<String, u64> = HashMap::new();
    for event in &run.events {
        if event["event"] == "tw_enter" || event["event"] == "tw_rearm" {
            armed.insert(ends(event), ns(&event["mono_ns"]));
        }
    }
    let mut worst = 0;
    for exit in run.of("tw_exit").into_iter().filter(|exit| !passed_fin_wait2(exit)) {
        let parts = ns(&exit["timeout_ns"]) + ns(&exit["rounding_ns"]) + ns(&exit["lateness_ns"]);
        let since = ns(&exit["mono_ns"]) - armed[&ends(exit)];
        worst = worst.max(parts.abs_diff(since));
        assert!(parts.abs_diff(since) <= tick, "{parts} and {since} are more than a tick apart: {exit}");
    }
    println!("parts and whole differ by {worst} ns at most, a tick is {tick} ns");
}

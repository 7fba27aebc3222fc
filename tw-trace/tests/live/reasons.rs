//! Every reason to end and every cause to start over, provoked on purpose.

use std::process::{Command, Stdio};

use serde_json::Value;
use xtask::netns::in_netns_of;
use xtask::traffic::scenario::{Scenario, find};

use crate::harness::{ended, live_with_timers, quiet};
use crate::run::{Run, SHORT, Tracer, has_port};
use crate::skip::skip;
use crate::traffic::Traffic;

const COUNT: u32 = 5;

/// Scenarios in which time-wait sockets end early.
const ENDS: &[&str] = &[
    "reused",
    "reused6",
    "new_syn",
    "new_syn6",
    "rst",
    "rst6",
    "killed",
    "killed6",
    "fin_wait2_data",
    "fin_wait2_rst",
    "fin_wait2_expires",
];

#[test]
fn every_early_end_tells_its_reason() {
    live_with_timers("every_early_end_tells_its_reason", || {
        let _quiet = quiet();
        let run = traced(ENDS);
        for name in ENDS {
            let scenario = find(name).expect("a scenario");
            let (each, reason) = scenario.expect.ended.expect("it ends");
            let ends = of_scenario(&run, "tw_exit", scenario);
            let got: Vec<_> = ends.iter().map(|exit| exit["reason"].as_str().unwrap_or_default()).collect();
            assert_eq!(got, vec![reason; (each * COUNT) as usize], "{name}");
            for end in &ends {
                let in_fin_wait2 = scenario.expect.time_wait == 0;
                assert_eq!(end["substate"], if in_fin_wait2 { "FIN_WAIT2" } else { "TIME_WAIT" }, "{end}");
                assert_eq!(end["family"], if name.ends_with('6') { "ipv6" } else { "ipv4" }, "{end}");
            }
        }
    });
}

/// A re-arm within one granule of the wheel fires no timer event; these come later than that.
#[test]
fn every_restart_of_the_clock_tells_its_cause() {
    live_with_timers("every_restart_of_the_clock_tells_its_cause", || {
        let _quiet = quiet();
        let names = ["rearm_late_segment", "rearm_ack", "rearm_paws"];
        let run = traced(&names);
        for name in names {
            let scenario = find(name).expect("a scenario");
            let cause = scenario.expect.rearm.expect("it is re-armed");
            let rearms = of_scenario(&run, "tw_rearm", scenario);
            assert_eq!(rearms.len(), COUNT as usize, "{name}");
            for rearm in rearms {
                // Where the kernel's stack does not tell them apart, the cause is unknown, never wrong.
                assert!(rearm["cause"] == cause || rearm["cause"] == "unknown", "{name}: {rearm}");
                assert_eq!(rearm["timeout_ns"], 60_000_000_000_u64, "{rearm}");
            }
        }
    });
}

#[test]
fn connections_without_room_for_time_wait_are_counted() {
    live_with_timers("connections_without_room_for_time_wait_are_counted", || {
        let _quiet = quiet();
        let run = traced(&["overflow"]);
        assert_eq!(run.summary["overflow"], COUNT, "{}", run.summary);
        assert_eq!(run.summary["entered"], 0, "{}", run.summary);
    });
}

/// The scenario `killed` sends what ss sends; this is ss itself.
#[test]
fn ss_kill_is_told_as_killed() {
    live_with_timers("ss_kill_is_told_as_killed", || {
        if Command::new("ss").arg("-V").output().is_err() {
            skip("ss_kill_is_told_as_killed", "no ss (package iproute2)");
            return;
        }
        let _quiet = quiet();
        let mut traffic = Traffic::scenarios(&["client_first"], COUNT);
        let mut tracer = Tracer::of_netns(traffic.netns, &[]);
        traffic.go(1);
        let ss = in_netns_of(traffic.pid, || {
            let mut ss = Command::new("ss");
            ss.args(["--tcp", "--numeric", "--kill", "state", "time-wait"]);
            Ok(ended(ss.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?))
        });
        let ss = ss.expect("running ss");
        tracer.read_exits(COUNT as usize, SHORT);
        let run = tracer.interrupt();
        run.assert_clean();
        assert_eq!(run.summary["exited"]["killed"], COUNT, "{}\nss said: {ss:?}", run.summary);
    });
}

fn traced(names: &[&str]) -> Run {
    let mut traffic = Traffic::scenarios(names, COUNT);
    let tracer = Tracer::of_netns(traffic.netns, &[]);
    let reports = traffic.go(names.len());
    assert_eq!(reports.len(), names.len());
    let run = tracer.interrupt();
    run.assert_clean();
    run
}

fn of_scenario<'run>(run: &'run Run, kind: &str, scenario: &Scenario) -> Vec<&'run Value> {
    run.of(kind).into_iter().filter(|event| has_port(event, scenario.port)).collect()
}

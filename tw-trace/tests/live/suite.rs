//! Every scenario on this machine's kernel: `cargo xtask suite` judges what tw-trace tells of each.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{ended_within, live_with_timers, quiet, tw_trace, unseen, xtask};

/// It takes some four minutes.
const LIMIT: Duration = Duration::from_mins(20);

#[test]
fn every_scenario_is_told_as_its_golden_has_it() {
    live_with_timers("every_scenario_is_told_as_its_golden_has_it", || {
        let _quiet = quiet();
        // Its standard error is for people, and long: it is shown when something fails.
        let suite = Command::new(xtask())
            .arg("suite")
            .arg("--tw-trace")
            .arg(tw_trace())
            .args(["--backend", "tracepoint"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("running xtask suite");
        let suite = ended_within(suite, LIMIT);
        let lines: Vec<Value> = String::from_utf8_lossy(&suite.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect();
        unseen(lines.last().and_then(|last| last["unseen"].as_u64()).unwrap_or(0));
        let scenarios: Vec<_> = lines.iter().filter(|line| !line["scenario"].is_null()).collect();
        let failed: Vec<_> =
            scenarios.iter().filter(|line| line["outcome"] == "fail").map(|line| said(line)).collect();
        let told = String::from_utf8_lossy(&suite.stderr);
        assert!(failed.is_empty(), "{}\n{told}", failed.join("\n"));
        assert!(suite.status.success(), "{}\n{told}", suite.status);
        // All scenarios, the tracer's own audit, and those of the wheel and hist views beside it.
        let all = xtask::traffic::scenario::all().count() + 3;
        assert_eq!(scenarios.len(), all, "{told}");
        assert_eq!(lines.last().map(|last| &last["scenarios"]), Some(&all.into()), "{told}");
        for skipped in scenarios.iter().filter(|line| line["outcome"] == "skipped") {
            eprintln!("tw-trace-skip-part: {}", said(skipped));
        }
    });
}

/// What the suite says of a scenario.
fn said(line: &Value) -> String {
    let text = |key: &str| line[key].as_str().unwrap_or("?");
    format!("{}: {}", text("scenario"), text("why"))
}

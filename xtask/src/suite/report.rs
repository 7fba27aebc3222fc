//! What is printed: lines of JSON for programs on stdout, words for people on stderr.

use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::judge::{Outcome, Verdict};

pub(super) fn begin(scenarios: usize) {
    say(&json!({"scenarios": scenarios}));
}

pub(super) fn progress(what: &str) {
    // Nobody may be left to read it.
    let _ = writeln!(stderr(), "{what}");
}

/// Says how all came out, and how many sockets ended without the kernel running a program; the exit code is 0 when
/// nothing failed.
pub(super) fn end(verdicts: &[Verdict], unseen: u64) -> ExitCode {
    let mut counts = [0; 4];
    for verdict in verdicts {
        let (index, outcome, why) = match &verdict.outcome {
            Outcome::Pass => (0, "pass", None),
            Outcome::Difference(why) => (1, "difference", Some(why)),
            Outcome::Skipped(why) => (2, "skipped", Some(why)),
            Outcome::Fail(why) => (3, "fail", Some(why)),
        };
        counts[index] += 1;
        say(&json!({"scenario": verdict.name, "outcome": outcome, "why": why}));
        let why = why.map(|why| format!(": {}", why.replace('\n', "\n    "))).unwrap_or_default();
        progress(&format!("{outcome:10} {}{why}", verdict.name));
    }
    say(&json!({"done": true, "scenarios": verdicts.len(), "unseen": unseen}));
    let [pass, difference, skipped, fail] = counts;
    progress(&format!("{pass} pass, {difference} forced differences, {skipped} skipped, {fail} fail"));
    if fail == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(what: &Value) {
    let mut out = stdout();
    let _ = writeln!(out, "{what}");
    let _ = out.flush();
}

//! `tw-trace wheel` beside the tracer of the scenarios: another way to count the same timers, without an entry per
//! socket, must come to the same.

use serde_json::Value;

use super::judge::Outcome;

/// Ends that only sockets of scenarios come to.
const EARLY: &[&str] = &["unknown", "reused", "new_syn", "rst", "reset_sent", "killed", "netns_gone"];

/// Whether anything else happens on the machine while the two start and end one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    Alone,
    Others,
}

pub(super) fn outcome(wheel: &Value, trace: &Value, company: Company) -> Outcome {
    let mut problems = Vec::new();
    if wheel["balanced"] != true {
        problems.push(format!("not balanced: {}", wheel["unbalanced"]));
    }
    if wheel["lost"] != 0 {
        problems.push(format!("lost {}: {}", wheel["lost"], wheel["lost_by"]));
    }
    if company == Company::Alone {
        problems.extend(differences(wheel, trace));
    }
    if problems.is_empty() { Outcome::Pass } else { Outcome::Fail(problems.join("\n")) }
}

fn differences(wheel: &Value, trace: &Value) -> Vec<String> {
    let mut found: Vec<String> = EARLY
        .iter()
        .filter(|reason| wheel["exited"][**reason] != trace["exited"][**reason])
        .map(|reason| {
            let (wheel, trace) = (&wheel["exited"][*reason], &trace["exited"][*reason]);
            format!("{reason}: {wheel} on the wheel, {trace} traced")
        })
        .collect();
    let expired = |summary: &Value| summary["exited"]["expired"].as_u64().unwrap_or(0);
    // The tracer made one connection of its own, which it does not tell.
    let own = expired(wheel).wrapping_sub(expired(trace));
    if own > 1 {
        found.push(format!("expired: {} on the wheel, {} traced", expired(wheel), expired(trace)));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn summary(expired: u64, rst: u64) -> Value {
        json!({"balanced": true, "lost": 0, "exited": {
            "unknown": 0, "expired": expired, "reused": 0, "new_syn": 0, "rst": rst, "reset_sent": 0, "killed": 0,
            "netns_gone": 0,
        }})
    }

    #[test]
    fn both_must_come_to_the_same() {
        let of = |wheel, trace| outcome(&wheel, &trace, Company::Alone);
        assert_eq!(of(summary(10, 2), summary(10, 2)), Outcome::Pass);
        assert_eq!(of(summary(11, 2), summary(10, 2)), Outcome::Pass);
        for (wheel, trace) in [
            (summary(12, 2), summary(10, 2)),
            (summary(9, 2), summary(10, 2)),
            (summary(10, 1), summary(10, 2)),
        ] {
            assert!(matches!(of(wheel, trace), Outcome::Fail(_)));
        }
        assert_eq!(outcome(&summary(9, 0), &summary(10, 2), Company::Others), Outcome::Pass);
        let lost = json!({"balanced": false, "unbalanced": ["x"], "lost": 1, "lost_by": {}});
        assert!(matches!(outcome(&lost, &summary(0, 0), Company::Others), Outcome::Fail(_)));
    }
}

//! `tw-trace hist` beside the tracer of the scenarios: what it counts in the kernel must be what its own events come
//! to, bucket by bucket.

use serde_json::Value;

use super::judge::Outcome;
use super::nested;
use super::wheel_view::Company;
use crate::distributions::{differences, made_of, told};

/// Events lost to nesting that a guest may pass over; *seen* up to 7.
const MOST_NESTED: u64 = 20;

/// The lines between header and summary: its events, if it was asked for them, and what it counted.
pub(super) fn outcome(lines: &[Value], summary: &Value, company: Company) -> Outcome {
    let mut problems = Vec::new();
    if summary["balanced"] != true {
        problems.push(format!("not balanced: {}", summary["unbalanced"]));
    }
    let passed_over = nested::only(&summary["lost_by"])
        .filter(|events| company == Company::Alone && *events <= MOST_NESTED);
    if summary["lost"] != 0 && passed_over.is_none() {
        problems.push(nested::loss(summary));
    }
    let told = told(lines);
    if told.is_empty() {
        problems.push("nothing was counted".to_owned());
    }
    if lines.iter().any(|line| line["event"] != "hist") {
        problems.extend(differences(&told, &made_of(lines)));
    }
    match passed_over {
        _ if !problems.is_empty() => Outcome::Fail(problems.join("\n")),
        None => Outcome::Pass,
        Some(events) => Outcome::Difference(format!(
            "the kernel does not run a program inside itself: {events} events were not seen, and are counted as lost"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_must_come_to_the_same() {
        let state = |ns: u64| json!({"event": "state", "old": "CLOSING", "dwell_ns": ns});
        let told = json!({"of": "dwell", "state": "CLOSING", "count": 1, "sum": 7, "min": 7, "max": 7,
                          "buckets": [[7, 8, 1]]});
        let line = json!({"event": "hist", "distributions": [told]});
        let summary = json!({"balanced": true, "lost": 0});
        let is_passed = |lines: &[Value]| outcome(lines, &summary, Company::Others) == Outcome::Pass;
        assert!(is_passed(&[state(7), line.clone()]) && is_passed(std::slice::from_ref(&line)));
        assert!(!is_passed(&[state(8), line.clone()]) && !is_passed(&[state(7)]));
        let nested = json!({"balanced": true, "lost": 2, "lost_by": {"recursion": 2}});
        let with = |summary: &Value, company| outcome(&[state(7), line.clone()], summary, company);
        assert!(matches!(with(&nested, Company::Alone), Outcome::Difference(_)));
        assert!(matches!(with(&nested, Company::Others), Outcome::Fail(_)));
        let often = json!({"balanced": true, "lost": 21, "lost_by": {"recursion": 21}});
        assert!(matches!(with(&often, Company::Alone), Outcome::Fail(_)));
        let full = json!({"balanced": true, "lost": 3, "lost_by": {"recursion": 2, "tw_map_full": 1}});
        assert!(matches!(with(&full, Company::Alone), Outcome::Fail(_)));
        let unbalanced = json!({"balanced": false, "unbalanced": ["x"], "lost": 1, "lost_by": {}});
        assert!(matches!(with(&unbalanced, Company::Alone), Outcome::Fail(_)));
    }
}

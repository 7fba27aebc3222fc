//! The lines between host and guest: what each port is called, and what a line of the guest means.

use std::path::Path;

use serde_json::{Value, json};
use xtask::backend::Backend;

use crate::oracle::SCENARIO;

/// The virtio ports of a guest. The first carries lines of JSON both ways, the others a file each.
pub(super) const DATA: &str = "data";
pub(super) const BTF: &str = "btf";
pub(super) const KALLSYMS: &str = "kallsyms";

/// In a request: the arguments of `bench-guest`, which is then run instead of the scenarios.
pub(super) const BENCH: &str = "bench";
/// In a request: the names of checks (all, if none), which are then run instead of the scenarios.
pub(super) const CHECKS: &str = "checks";

/// What a scenario came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Pass,
    Fail,
    /// Another result than elsewhere, which this kernel or backend forces, as documented.
    Difference,
    Skipped,
}

impl Outcome {
    pub(super) const ALL: [Self; 4] = [Self::Pass, Self::Fail, Self::Difference, Self::Skipped];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Difference => "difference",
            Self::Skipped => "skipped",
        }
    }
}

/// A scenario's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) scenario: String,
    /// Where it is not that of the whole guest.
    pub(super) backend: Option<Backend>,
    pub(super) outcome: Outcome,
    pub(super) why: Option<String>,
}

/// A line of a guest.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The kernel is up.
    Ready {
        release: String,
    },
    /// So many scenarios will be run.
    Total(u64),
    Verdict(Verdict),
    /// All scenarios were run.
    Done,
    /// The guest could not do what it was asked for.
    Failed(String),
    /// Nothing that concerns us.
    Other,
}

/// How exact durations are in a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durations {
    /// To a tick: nothing else happens while its clock jumps.
    Exact,
    /// As the host lets it run.
    Loose,
}

/// Whether a guest is the one of its kernel that holds the model of the timer wheel against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oracle {
    Here,
    Elsewhere,
}

/// What the guest is asked for.
pub(super) fn request(
    backend: &str,
    only: &[String],
    durations: Durations,
    oracle: Oracle,
    extract: Option<&Path>,
) -> Value {
    let of_suite: Vec<&String> = only.iter().filter(|name| *name != SCENARIO).collect();
    json!({
        "backend": backend,
        "only": of_suite,
        "suite": only.is_empty() || !of_suite.is_empty(),
        "exact": durations == Durations::Exact,
        "oracle": oracle == Oracle::Here,
        "extract": extract.is_some(),
    })
}

/// What a guest is asked for that is to run checks.
pub(super) fn request_checks(only: &[String]) -> Value {
    json!({ CHECKS: only })
}

pub(super) fn parse(line: &str) -> Heard {
    let Ok(line) = serde_json::from_str::<Value>(line) else {
        return Heard::Failed(format!("the guest said something that is not JSON: {line}"));
    };
    let text = |key: &str| line[key].as_str().map(str::to_owned);
    match line["guest"].as_str() {
        Some("ready") => return Heard::Ready { release: text("release").unwrap_or_default() },
        Some("failed") => return Heard::Failed(text("why").unwrap_or_default()),
        _ => {}
    }
    if line["done"] == true {
        return Heard::Done;
    }
    match (text("scenario"), line["scenarios"].as_u64()) {
        (Some(scenario), _) => {
            let backend = text("backend").and_then(|name| Backend::find(&name));
            Heard::Verdict(Verdict { backend, ..verdict(scenario, text("outcome"), text("why")) })
        }
        (None, Some(total)) => Heard::Total(total),
        (None, None) => Heard::Other,
    }
}

fn verdict(scenario: String, outcome: Option<String>, why: Option<String>) -> Verdict {
    let outcome = outcome.unwrap_or_default();
    match Outcome::ALL.into_iter().find(|known| known.name() == outcome) {
        Some(outcome) => Verdict { scenario, backend: None, outcome, why },
        None => {
            let why = Some(format!("the suite said {outcome:?}, which is no outcome"));
            Verdict { scenario, backend: None, outcome: Outcome::Fail, why }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_suite() {
        let passed = r#"{"scenario":"a","outcome":"pass","why":null,"extra":1}"#;
        let verdict = Verdict { scenario: "a".to_owned(), backend: None, outcome: Outcome::Pass, why: None };
        assert_eq!(parse(passed), Heard::Verdict(verdict.clone()));
        let of_check = r#"{"scenario":"a","backend":"kprobe","outcome":"pass","why":null}"#;
        assert_eq!(parse(of_check), Heard::Verdict(Verdict { backend: Some(Backend::Kprobe), ..verdict }));
        assert_eq!(parse(r#"{"done":true,"scenarios":3}"#), Heard::Done);
        assert_eq!(parse(r#"{"scenarios":3}"#), Heard::Total(3));
        assert_eq!(parse(r#"{"note":"x"}"#), Heard::Other);
    }

    #[test]
    fn the_oracle_is_not_the_suites() {
        let ask = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
            request("fentry", &only, Durations::Exact, Oracle::Here, None)
        };
        let (all, both, alone) = (ask(&[]), ask(&["a", SCENARIO]), ask(&[SCENARIO]));
        assert_eq!((&all["only"], &all["suite"]), (&json!([]), &json!(true)));
        assert_eq!((&both["only"], &both["suite"]), (&json!(["a"]), &json!(true)));
        assert_eq!((&alone["suite"], &alone["oracle"]), (&json!(false), &json!(true)));
    }

    #[test]
    fn what_is_not_understood_is_a_failure() {
        assert!(matches!(parse("Segmentation fault"), Heard::Failed(_)));
        let Heard::Verdict(odd) = parse(r#"{"scenario":"a","outcome":"maybe"}"#) else { panic!("a verdict") };
        assert_eq!(odd.outcome, Outcome::Fail);
        assert!(odd.why.expect("a reason").contains("maybe"));
    }
}

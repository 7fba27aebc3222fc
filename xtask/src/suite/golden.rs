//! Goldens: what must be told of each scenario, one for all backends and kernels, and the differences from it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::judge::Verdict;
use super::normal::Line;
use super::report;
use crate::backend::Backend;
use crate::traffic::capability::Capabilities;
use crate::traffic::difference::{Difference, Rule, When};

// `GOLDENS`: names and texts of everything in xtask/goldens.
include!(concat!(env!("OUT_DIR"), "/goldens.rs"));

/// Where they stand in the checkout that this was built from.
pub(super) const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/goldens");

/// How events compare to a golden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Same,
    /// The same but for what is declared, with the reasons.
    Different(Vec<&'static str>),
    /// With the lines that differ.
    No(Vec<String>),
}

/// The golden of this name.
pub(super) fn find(name: &str) -> Result<Vec<Line>> {
    let (_, text) = GOLDENS
        .iter()
        .find(|(known, _)| *known == name)
        .with_context(|| format!("there is no golden {name}"))?;
    text.lines().map(Line::parse).collect::<Result<_>>().with_context(|| format!("the golden {name}"))
}

/// Where a difference applies to this run.
pub(super) fn applies(difference: &Difference, backend: Backend, capabilities: &Capabilities) -> bool {
    match difference.when {
        When::Backend(wanted) => wanted == backend,
        When::Without(capability) => !capabilities.has(capability),
    }
}

pub(super) fn compare(golden: &[Line], told: &[Line], differences: &[&Difference]) -> Match {
    if golden == told {
        return Match::Same;
    }
    let (mut golden, mut told) = (golden.to_vec(), told.to_vec());
    let mut reasons = Vec::new();
    for difference in differences {
        let before = (golden.clone(), told.clone());
        for rule in difference.rules {
            apply(rule, &mut golden, &mut told);
        }
        if before != (golden.clone(), told.clone()) {
            reasons.push(difference.why);
        }
    }
    if golden == told { Match::Different(reasons) } else { Match::No(diff(&golden, &told)) }
}

fn apply(rule: &Rule, golden: &mut Vec<Line>, told: &mut Vec<Line>) {
    let is = |line: &Line, event: &str, key: &str, value: &str| {
        line.value("event").as_deref() == Some(event) && line.value(key).as_deref() == Some(value)
    };
    match *rule {
        Rule::Told { event, key, golden: from, here } => {
            for line in golden.iter_mut().filter(|line| is(line, event, key, from)) {
                line.0.insert(key.to_owned(), here.into());
            }
        }
        Rule::Missing { event, key, value } => golden.retain(|line| !is(line, event, key, value)),
        Rule::MayMiss { event, key, value } => {
            let count = |lines: &[Line]| lines.iter().filter(|line| is(line, event, key, value)).count();
            if count(told) <= count(golden) {
                golden.retain(|line| !is(line, event, key, value));
                told.retain(|line| !is(line, event, key, value));
            }
        }
        Rule::Varies { event, key } => {
            for line in golden.iter_mut().chain(told) {
                if line.value("event").as_deref() == Some(event) {
                    line.0.remove(key);
                }
            }
        }
    }
}

/// The lines that only one side has, and where.
fn diff(golden: &[Line], told: &[Line]) -> Vec<String> {
    const MOST: usize = 8;
    let mut missing: Vec<&Line> = golden.iter().collect();
    let mut lines = Vec::new();
    for line in told {
        match missing.iter().position(|known| *known == line) {
            Some(index) => drop(missing.remove(index)),
            None => lines.push(format!("+ {}", line.text())),
        }
    }
    lines.splice(0..0, missing.iter().map(|line| format!("- {}", line.text())));
    if lines.is_empty() {
        lines.push("the same lines in another order".to_owned());
    }
    let more = lines.len().saturating_sub(MOST);
    lines.truncate(MOST);
    if more > 0 {
        lines.push(format!("… and {more} more lines"));
    }
    lines
}

/// Writes what was told where it is not what the golden says, with the declared differences taken back.
pub(super) fn bless(
    folder: &Path,
    backend: Backend,
    capabilities: &Capabilities,
    verdicts: &[Verdict],
) -> Result<()> {
    ensure!(folder.is_dir(), "there is no folder {} to write goldens into", folder.display());
    for verdict in verdicts {
        let Some(Match::No(_)) = verdict.matched else { continue };
        let mut lines = verdict.lines.clone();
        let applying =
            verdict.differences.iter().filter(|difference| applies(difference, backend, capabilities));
        for rule in applying.flat_map(|difference| difference.rules) {
            take_back(rule, &mut lines, verdict.name);
        }
        let text: String = lines.iter().map(|line| line.text() + "\n").collect();
        let file = folder.join(format!("{}.jsonl", verdict.name));
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        report::progress(&format!("blessed {}", verdict.name));
    }
    Ok(())
}

fn take_back(rule: &Rule, lines: &mut [Line], name: &str) {
    match *rule {
        Rule::Told { event, key, golden, here } => {
            for line in lines {
                if line.value("event").as_deref() == Some(event) && line.value(key).as_deref() == Some(here) {
                    line.0.insert(key.to_owned(), golden.into());
                }
            }
        }
        Rule::Missing { event, .. } | Rule::MayMiss { event, .. } | Rule::Varies { event, .. } => {
            report::progress(&format!(
                "{name}: look by hand at {event}, of which this backend does not tell all"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line::parse(text).expect("a line")
    }

    fn difference(rules: &'static [Rule]) -> Difference {
        Difference { when: When::Backend(Backend::Tracepoint), why: "because", rules }
    }

    #[test]
    fn a_declared_difference_is_one_and_an_undeclared_is_not() {
        let golden = [line(r#"{"event":"tw_rearm","cause":"paws"}"#)];
        let told = [line(r#"{"event":"tw_rearm","cause":"unknown"}"#)];
        let declared =
            difference(&[Rule::Told { event: "tw_rearm", key: "cause", golden: "paws", here: "unknown" }]);
        assert_eq!(compare(&golden, &told, &[&declared]), Match::Different(vec!["because"]));
        assert_eq!(compare(&golden, &golden, &[&declared]), Match::Same);
        let Match::No(lines) = compare(&golden, &told, &[]) else { panic!("a match") };
        assert_eq!(lines.len(), 2);
        let wrong = [line(r#"{"event":"tw_rearm","cause":"ack"}"#)];
        assert!(matches!(compare(&golden, &wrong, &[&declared]), Match::No(_)));
    }

    #[test]
    fn what_may_be_missing_may_not_be_more() {
        let golden = [line(r#"{"event":"a","k":1}"#)];
        let more = [golden[0].clone(), golden[0].clone()];
        let declared = difference(&[Rule::MayMiss { event: "a", key: "k", value: "1" }]);
        assert_eq!(compare(&golden, &[], &[&declared]), Match::Different(vec!["because"]));
        assert!(matches!(compare(&golden, &more, &[&declared]), Match::No(_)));
    }

    #[test]
    fn every_golden_can_be_read_and_belongs_to_a_scenario() {
        for (name, _) in GOLDENS {
            find(name).expect("a golden");
            crate::traffic::scenario::find(name).expect("a scenario");
        }
    }

    #[test]
    fn every_scenario_has_a_golden() {
        for scenario in crate::traffic::scenario::all() {
            assert!(find(scenario.name).is_ok(), "{}", scenario.name);
        }
    }
}

//! The table kernel × backend × scenario, for people, and all of it as JSON, for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::port::{Oracle, Outcome};
use super::qemu::Clock;
use super::run::{self, Report};
use crate::oracle::SCENARIO;

/// What passed may say how much that was.
pub(super) const COMPARED: &str = "What was compared";

/// Scenarios as rows, guests as columns, then whatever needs an explanation.
pub(super) fn text(reports: &[Report]) -> String {
    let scenarios = scenarios(reports);
    let width = scenarios.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(8);
    let mut out = String::new();
    let groups = groups(reports);
    let heads: Vec<String> = groups.iter().map(|group| head(&group[0])).collect();
    let widths: Vec<usize> = groups
        .iter()
        .zip(&heads)
        .map(|(group, head)| (2 * group.len() - 1).max(head.chars().count()))
        .collect();

    line(&mut out, "", width, heads.iter().zip(&widths).map(|(head, width)| format!("{head:width$}")));
    let letters = groups.iter().map(|group| spaced(group.iter().map(|report| report.backend.letter())));
    line(&mut out, "scenario", width, letters.zip(&widths).map(|(text, width)| format!("{text:width$}")));
    for scenario in &scenarios {
        let marks = groups.iter().map(|group| spaced(group.iter().map(|report| mark(report, scenario))));
        line(&mut out, scenario, width, marks.zip(&widths).map(|(text, width)| format!("{text:width$}")));
    }
    out.push_str("\n+ pass   X FAIL   ~ difference that the kernel forces   - skipped   ? no answer\n");
    out.push_str("f fentry   k kprobe   t tracepoint\n");
    explain(&mut out, reports, Outcome::Fail, "FAILED");
    explain(&mut out, reports, Outcome::Difference, "Differences that the kernel forces");
    explain(&mut out, reports, Outcome::Skipped, "Skipped");
    explain(&mut out, reports, Outcome::Pass, COMPARED);
    broken(&mut out, reports);
    for report in reports {
        let name = run::name(&report.line, report.arch, report.backend);
        for why in &report.repeated {
            let _ = writeln!(out, "\nREPEATED: {name}: {why}");
        }
    }
    out
}

/// Guests of one kernel side by side.
fn groups(reports: &[Report]) -> Vec<Vec<Report>> {
    let mut groups: Vec<Vec<Report>> = Vec::new();
    for report in reports {
        let same = |group: &&mut Vec<Report>| {
            group[0].line == report.line && group[0].arch == report.arch && group[0].clock == report.clock
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(report.clone()),
            None => groups.push(vec![report.clone()]),
        }
    }
    groups
}

/// All scenarios that any guest ran, in the order of running.
pub(super) fn scenarios(reports: &[Report]) -> Vec<String> {
    let mut names = Vec::new();
    for verdict in reports.iter().flat_map(|report| &report.verdicts) {
        if !names.contains(&verdict.scenario) {
            names.push(verdict.scenario.clone());
        }
    }
    names
}

fn head(report: &Report) -> String {
    let arch = match report.arch {
        super::arch::Arch::X86_64 => "x86",
        super::arch::Arch::Aarch64 => "arm",
    };
    let clock = if report.clock == Clock::Real { " smp" } else { "" };
    format!("{} {arch}{clock}", report.line)
}

fn line(out: &mut String, name: &str, width: usize, cells: impl Iterator<Item = String>) {
    let text = format!("{name:width$}  {}", cells.collect::<Vec<_>>().join("   "));
    out.push_str(text.trim_end());
    out.push('\n');
}

fn spaced(letters: impl Iterator<Item = char>) -> String {
    letters.map(String::from).collect::<Vec<_>>().join(" ")
}

fn outcome(report: &Report, scenario: &str) -> Option<Outcome> {
    report.verdicts.iter().find(|verdict| verdict.scenario == scenario).map(|verdict| verdict.outcome)
}

fn mark(report: &Report, scenario: &str) -> char {
    match outcome(report, scenario) {
        Some(Outcome::Pass) => '+',
        Some(Outcome::Fail) => 'X',
        Some(Outcome::Difference) => '~',
        Some(Outcome::Skipped) => '-',
        None if scenario == SCENARIO && report.oracle == Oracle::Elsewhere => ' ',
        None => '?',
    }
}

/// Every reason of one kind of outcome once, with all guests that gave it.
fn explain(out: &mut String, reports: &[Report], which: Outcome, title: &str) {
    let reasons = reasons(reports, which);
    if !reasons.is_empty() {
        let _ = writeln!(out, "\n{title}:");
    }
    for (scenario, why, guests) in reasons {
        let _ = writeln!(out, "  {scenario} ({}):\n{}", guests.join(", "), indented(&why));
    }
}

pub(super) fn reasons(reports: &[Report], which: Outcome) -> Vec<(String, String, Vec<String>)> {
    let mut found: Vec<(String, String, Vec<String>)> = Vec::new();
    for report in reports {
        for verdict in report.verdicts.iter().filter(|verdict| verdict.outcome == which) {
            if which == Outcome::Pass && verdict.why.is_none() {
                continue;
            }
            let why = verdict.why.clone().unwrap_or_else(|| "no reason given".to_owned());
            let guest = run::name(&report.line, report.arch, report.backend);
            match found.iter_mut().find(|(scenario, known, _)| *scenario == verdict.scenario && *known == why)
            {
                Some((_, _, guests)) => guests.push(guest),
                None => found.push((verdict.scenario.clone(), why, vec![guest])),
            }
        }
    }
    found
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

fn broken(out: &mut String, reports: &[Report]) {
    for report in reports {
        let name = run::name(&report.line, report.arch, report.backend);
        if let Some(why) = &report.broken {
            let _ = writeln!(out, "\nBROKEN: {name}: {}", indented(why).trim_start());
        }
        if !report.complaints.is_empty() {
            let _ = writeln!(
                out,
                "\nTHE KERNEL COMPLAINED: {name}:\n{}",
                indented(&report.complaints.join("\n"))
            );
        }
    }
}

/// All of it, for programs.
pub(super) fn json(reports: &[Report], date: &str, version: &str) -> Value {
    let guests: Vec<Value> = reports.iter().map(guest_json).collect();
    json!({"schema": 1, "date": date, "version": version, "guests": guests})
}

fn guest_json(report: &Report) -> Value {
    let verdicts = report.verdicts.iter().map(|verdict| {
        json!({"scenario": verdict.scenario, "outcome": verdict.outcome.name(), "why": verdict.why})
    });
    json!({
        "kernel": report.line,
        "arch": report.arch.name(),
        "backend": report.backend.name(),
        "release": report.release,
        "clock": if report.clock == Clock::Warped { "warped" } else { "real" },
        "seconds": report.took.as_secs(),
        "broken": report.broken,
        "complaints": report.complaints,
        "scenarios": verdicts.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::vm::arch::Arch;
    use crate::vm::port::Verdict;
    use xtask::backend::Backend;

    fn report(
        line: &str,
        arch: Arch,
        backend: Backend,
        verdicts: &[(&str, Outcome, Option<&str>)],
    ) -> Report {
        let verdicts = verdicts.iter().map(|(scenario, outcome, why)| Verdict {
            scenario: (*scenario).to_owned(),
            backend: None,
            outcome: *outcome,
            why: why.map(str::to_owned),
        });
        Report {
            line: line.to_owned(),
            arch,
            backend,
            oracle: if backend == Backend::Fentry { Oracle::Here } else { Oracle::Elsewhere },
            clock: Clock::Warped,
            release: if line == "7" { "7.3.4" } else { "5.10.0-46" }.to_owned(),
            took: Duration::from_secs(12),
            verdicts: verdicts.collect(),
            broken: None,
            complaints: Vec::new(),
            repeated: Vec::new(),
        }
    }

    pub(in crate::vm) fn reports() -> Vec<Report> {
        use Outcome::{Difference, Fail, Pass};
        let mut silent = report("7", Arch::Aarch64, Backend::Fentry, &[]);
        silent.broken = Some("it ended before it was done".to_owned());
        vec![
            report(
                "5.10",
                Arch::X86_64,
                Backend::Fentry,
                &[("active_close", Pass, None), ("reuse", Fail, Some("TW +2,\nnot +1"))],
            ),
            report(
                "5.10",
                Arch::X86_64,
                Backend::Tracepoint,
                &[("active_close", Pass, None), ("reuse", Difference, Some("no symbol\nthere"))],
            ),
            silent,
        ]
    }

    #[test]
    fn guests_are_columns_and_scenarios_rows() {
        let text = text(&reports());
        let expected = "              5.10 x86   7 arm\n\
                        scenario      f t        f\n\
                        active_close  + +        ?\n\
                        reuse         X ~        ?\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(
            text.contains("\nFAILED:\n  reuse (5.10 x86_64 fentry):\n    TW +2,\n    not +1\n"),
            "{text}"
        );
        assert!(text.contains("\nBROKEN: 7 aarch64 fentry: it ended before it was done\n"), "{text}");
    }

    #[test]
    fn the_oracle_is_asked_once_for_each_kernel() {
        let mut reports = reports();
        let counts = "101113 timers".to_owned();
        let verdict = Verdict {
            scenario: SCENARIO.to_owned(),
            backend: None,
            outcome: Outcome::Pass,
            why: Some(counts),
        };
        reports[0].verdicts.push(verdict);
        let text = text(&reports);
        assert!(text.contains("\ncalc_wheel_index  +          ?\n"), "{text}");
        assert!(
            text.contains(
                "\nWhat was compared:\n  calc_wheel_index (5.10 x86_64 fentry):\n    101113 timers\n"
            )
        );
    }

    #[test]
    fn programs_get_the_same() {
        let json = json(&reports(), "2026-11-20", "abc");
        assert_eq!(json["guests"][1]["scenarios"][1]["outcome"], "difference");
        assert_eq!(json["guests"][2]["broken"], "it ended before it was done");
    }
}

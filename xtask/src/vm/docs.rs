//! The support table in docs/kernels.md, written from a run.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::port::Outcome;
use super::qemu::Clock;
use super::run::Report;
use super::table;
use xtask::backend::Backend;

const BEGIN: &str = "<!-- written by `cargo xtask vm --write-docs`: begin -->\n";
const END: &str = "<!-- written by `cargo xtask vm --write-docs`: end -->";

/// Puts the table between the marks of this page.
pub(super) fn write(page: &Path, reports: &[Report], date: &str, version: &str) -> Result<()> {
    let text = fs::read_to_string(page).with_context(|| format!("reading {}", page.display()))?;
    let text = replace(&text, &section(reports, date, version)).with_context(|| {
        format!("{} has no place for the table: two comment lines mark it", page.display())
    })?;
    fs::write(page, text).with_context(|| format!("writing {}", page.display()))
}

fn replace(page: &str, section: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{section}{END}{after}"))
}

fn section(reports: &[Report], date: &str, version: &str) -> String {
    let backends: Vec<Backend> = Backend::ALL
        .into_iter()
        .filter(|backend| reports.iter().any(|report| report.backend == *backend))
        .collect();
    let names: Vec<_> = backends.iter().map(|backend| backend.name()).collect();
    let scenarios = table::scenarios(reports).len();
    let mut out = format!("\nRun on {date} at {version}: {scenarios} scenarios.\n\n");
    let _ = writeln!(out, "| kernel | release | architecture | {} |", names.join(" | "));
    let _ = writeln!(out, "|---|---|---|{}", "---|".repeat(names.len()));
    for kernel in kernels(reports) {
        let cells = backends.iter().map(|backend| {
            let report = kernel.iter().find(|report| report.backend == *backend);
            report.map_or_else(|| "not run".to_owned(), |report| cell(report))
        });
        let (first, cells) = (kernel[0], cells.collect::<Vec<_>>().join(" | "));
        let clock = if first.clock == Clock::Real { ", 2 CPUs" } else { "" };
        let _ =
            writeln!(out, "| {}{clock} | {} | {} | {cells} |", first.line, first.release, first.arch.name());
    }
    list(&mut out, reports, Outcome::Difference, "Differences that the kernel or the backend forces");
    list(&mut out, reports, Outcome::Skipped, "Skipped, and why");
    list(&mut out, reports, Outcome::Fail, "Failed");
    list(&mut out, reports, Outcome::Pass, table::COMPARED);
    out.push('\n');
    out
}

fn kernels(reports: &[Report]) -> Vec<Vec<&Report>> {
    let mut kernels: Vec<Vec<&Report>> = Vec::new();
    for report in reports {
        let key = |report: &Report| (report.line.clone(), report.arch, report.clock);
        match kernels.iter_mut().find(|kernel| key(kernel[0]) == key(report)) {
            Some(kernel) => kernel.push(report),
            None => kernels.push(vec![report]),
        }
    }
    kernels
}

fn cell(report: &Report) -> String {
    let counts = Outcome::ALL.into_iter().filter_map(|outcome| {
        let count = report.count(outcome);
        (count > 0).then(|| format!("{count} {}", outcome.name()))
    });
    let mut parts: Vec<String> = counts.collect();
    if report.broken.is_some() {
        parts.push("broken off".to_owned());
    }
    parts.join(", ")
}

fn list(out: &mut String, reports: &[Report], which: Outcome, title: &str) {
    let reasons = table::reasons(reports, which);
    if !reasons.is_empty() {
        let _ = writeln!(out, "\n{title}:\n");
    }
    for (scenario, why, guests) in reasons {
        let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(out, "- `{scenario}` ({}): {why}", guests.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let page = format!("# Kernels\n{BEGIN}old\n{END}\nafter\n");
        assert_eq!(replace(&page, "new\n").expect("marks"), format!("# Kernels\n{BEGIN}new\n{END}\nafter\n"));
        assert_eq!(replace("# Kernels\n", "new\n"), None);
    }

    #[test]
    fn the_page_in_the_tree_has_the_marks() {
        assert!(replace(include_str!("../../../docs/kernels.md"), "").is_some());
    }

    #[test]
    fn a_kernel_has_one_row() {
        let reports = table::tests::reports();
        let text = section(&reports, "2026-11-20", "abc1234");
        assert!(text.contains("Run on 2026-11-20 at abc1234: 2 scenarios."));
        assert!(text.contains("| 5.10 | 5.10.0-46 | x86_64 | 1 pass, 1 fail | 1 pass, 1 difference |"));
        assert!(text.contains("| 7 | 7.3.4 | aarch64 | broken off | not run |"));
        assert!(text.contains("- `reuse` (5.10 x86_64 tracepoint): no symbol there"));
    }
}

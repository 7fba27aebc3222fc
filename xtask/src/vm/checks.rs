//! Guests that run the checks of `xtask::checks` instead of the scenarios: two CPUs, real time, all backends in one boot.

use super::port::Oracle;
use super::qemu::{Boot, Clock};
use super::run::{self, Guest, Report, Work};
use xtask::backend::Backend;

/// One guest for each kernel.
pub(super) fn guests(boots: Vec<(String, Boot)>) -> Vec<Guest> {
    let guest = |(line, mut boot): (String, Boot)| {
        boot.clock = Clock::Real;
        boot.extract = None;
        boot.console.as_mut_os_string().push("-checks");
        Guest { line, backend: Backend::Fentry, oracle: Oracle::Elsewhere, work: Work::Checks, boot }
    };
    boots.into_iter().map(guest).collect()
}

/// Guests that run at a time: two CPUs each, in real time, they would wait for each other if there were more.
pub(super) fn at_a_time() -> usize {
    (run::cpus() / 2).max(1)
}

/// A report for each backend. What concerns the guest itself stays with the first.
pub(super) fn by_backend(report: &Report) -> Vec<Report> {
    let mut reports = Vec::new();
    for backend in Backend::ALL {
        let of_it = report.verdicts.iter().filter(|verdict| verdict.backend == Some(backend));
        let verdicts: Vec<_> = of_it.cloned().collect();
        if backend == Backend::ALL[0] {
            reports.push(Report { backend, verdicts, ..report.clone() });
        } else if !verdicts.is_empty() {
            let (broken, complaints, repeated) = (None, Vec::new(), Vec::new());
            reports.push(Report { backend, verdicts, broken, complaints, repeated, ..report.clone() });
        }
    }
    reports
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::port::{Outcome, Verdict};
    use crate::vm::table::tests::reports;

    #[test]
    fn a_guest_s_verdicts_are_told_apart_by_backend_and_its_complaints_once() {
        let of = |scenario: &str, backend| Verdict {
            scenario: scenario.to_owned(),
            backend: Some(backend),
            outcome: Outcome::Pass,
            why: None,
        };
        let verdicts =
            vec![of("a", Backend::Fentry), of("a", Backend::Tracepoint), of("b", Backend::Tracepoint)];
        let complaints = vec!["BUG".to_owned()];
        let split = by_backend(&Report { verdicts, complaints, ..reports()[0].clone() });
        let counts: Vec<_> = split
            .iter()
            .map(|report| (report.backend, report.verdicts.len(), report.complaints.len()))
            .collect();
        assert_eq!(counts, [(Backend::Fentry, 1, 1), (Backend::Tracepoint, 2, 0)]);
    }
}

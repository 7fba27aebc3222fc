//! Runs the guests, some at a time, and gathers what each came to.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::arch::Arch;
use super::checks;
use super::port::{self, Durations, Heard, Oracle, Outcome, Verdict};
use super::progress::Progress;
use super::qemu::{self, Boot, Clock, End};
use xtask::backend::Backend;
use xtask::suite::nested;

/// A guest to be run: one kernel, and all scenarios under one backend, or all checks under each.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) line: String,
    /// Of the scenarios.
    pub(super) backend: Backend,
    pub(super) oracle: Oracle,
    pub(super) work: Work,
    pub(super) boot: Boot,
}

/// What a guest is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Scenarios,
    Checks,
}

/// What all guests of a run have in common.
#[derive(Debug)]
pub(super) struct Orders<'a> {
    pub(super) only: &'a [String],
    pub(super) limit: Duration,
    pub(super) at_a_time: usize,
}

/// What a guest came to.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) line: String,
    pub(super) arch: Arch,
    pub(super) backend: Backend,
    pub(super) oracle: Oracle,
    pub(super) clock: Clock,
    /// As the kernel calls itself; empty when it never came up.
    pub(super) release: String,
    pub(super) took: Duration,
    pub(super) verdicts: Vec<Verdict>,
    /// Why not all scenarios were run, with the last of the kernel's messages.
    pub(super) broken: Option<String>,
    /// The kernel's complaints about itself.
    pub(super) complaints: Vec<String>,
    /// What the runs before this one lost, that proved nothing.
    pub(super) repeated: Vec<String>,
}

/// How often a guest is booted whose run lost records to nesting.
const ATTEMPTS: usize = 3;

impl Report {
    /// What the run lost to nesting, if that is why it failed and it lost nothing otherwise.
    fn lost_to_nesting(&self) -> Option<String> {
        if self.broken.is_some() || !self.complaints.is_empty() {
            return None;
        }
        let failed = |verdict: &&Verdict| verdict.scenario == "summary" && verdict.outcome == Outcome::Fail;
        let lost = nested::told(self.verdicts.iter().find(failed)?.why.as_deref()?)?;
        Some(format!("{lost} records were lost to nesting"))
    }

    pub(super) fn count(&self, outcome: Outcome) -> usize {
        self.verdicts.iter().filter(|verdict| verdict.outcome == outcome).count()
    }

    pub(super) fn failed(&self) -> bool {
        self.broken.is_some() || !self.complaints.is_empty() || self.count(Outcome::Fail) > 0
    }
}

/// What a guest's thread tells while it runs.
#[derive(Debug)]
pub(super) enum Event {
    Started,
    Heard(Heard),
    Ended(Box<Report>),
}

/// Runs all guests and returns their reports in the order of the guests, of checks one for each backend.
pub(super) fn all(guests: &[Guest], orders: &Orders<'_>) -> Vec<Report> {
    let mut progress = Progress::new(guests);
    let mut reports: Vec<Option<Report>> = guests.iter().map(|_| None).collect();
    let queue = Mutex::new(guests.iter().enumerate());
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        for _ in 0..orders.at_a_time.min(guests.len()) {
            let (tell, queue) = (tell.clone(), &queue);
            scope.spawn(move || work(queue, orders, &tell));
        }
        drop(tell);
        loop {
            match told.recv_timeout(Duration::from_millis(500)) {
                Ok((place, event)) => {
                    progress.hear(place, &event);
                    if let Event::Ended(report) = event {
                        reports[place] = Some(*report);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            progress.tell();
        }
    });
    progress.close();
    let each = |(guest, report): (&Guest, Report)| match guest.work {
        Work::Scenarios => vec![report],
        Work::Checks => checks::by_backend(&report),
    };
    guests.iter().zip(reports).filter_map(|(guest, report)| Some((guest, report?))).flat_map(each).collect()
}

type Queue<'a> = Mutex<std::iter::Enumerate<std::slice::Iter<'a, Guest>>>;

fn work(queue: &Queue<'_>, orders: &Orders<'_>, tell: &Sender<(usize, Event)>) {
    loop {
        let next = queue.lock().map(|mut queue| queue.next());
        let Ok(Some((place, guest))) = next else { return };
        // Nobody listens any more when the run as a whole has ended.
        let tell = |event| drop(tell.send((place, event)));
        let mut repeated = Vec::new();
        let report = loop {
            tell(Event::Started);
            let report = guest.run(orders, &tell);
            match report.lost_to_nesting() {
                Some(why) if repeated.len() + 1 < ATTEMPTS => repeated.push(why),
                Some(_) | None => break Report { repeated, ..report },
            }
        };
        tell(Event::Ended(Box::new(report)));
    }
}

impl Guest {
    fn run(&self, orders: &Orders<'_>, tell: &dyn Fn(Event)) -> Report {
        let start = Instant::now();
        let mut report = Report {
            line: self.line.clone(),
            arch: self.boot.arch,
            backend: self.backend,
            oracle: self.oracle,
            clock: self.boot.clock,
            release: String::new(),
            took: Duration::ZERO,
            verdicts: Vec::new(),
            broken: None,
            complaints: Vec::new(),
            repeated: Vec::new(),
        };
        let mut done = false;
        let end = self.boot.run(&self.request(orders.only), orders.limit, |line| {
            let heard = port::parse(line);
            match &heard {
                Heard::Ready { release } => report.release.clone_from(release),
                Heard::Verdict(verdict) => report.verdicts.push(verdict.clone()),
                Heard::Failed(why) => report.broken = Some(why.clone()),
                Heard::Done => done = true,
                Heard::Total(_) | Heard::Other => {}
            }
            tell(Event::Heard(heard));
        });
        report.took = start.elapsed();
        report.complaints = qemu::complaints(&self.boot.console);
        let words = qemu::last_words(&self.boot.console, 15);
        report.broken = broken(report.broken.take(), &end, done, orders.limit)
            .map(|why| format!("{why}; {}; its last words:\n{words}", ran(&report.verdicts)));
        report
    }

    /// What it is asked for.
    fn request(&self, only: &[String]) -> Value {
        let durations = match self.boot.clock {
            Clock::Warped => Durations::Exact,
            Clock::Real => Durations::Loose,
        };
        match self.work {
            Work::Checks => port::request_checks(only),
            Work::Scenarios => {
                let extract = self.boot.extract.as_deref();
                port::request(self.backend.name(), only, durations, self.oracle, extract)
            }
        }
    }

    /// As people call it.
    pub(super) fn name(&self) -> String {
        match self.work {
            Work::Scenarios => name(&self.line, self.boot.arch, self.backend),
            Work::Checks => format!("{} {} checks", self.line, self.boot.arch.name()),
        }
    }
}

/// Why a guest that ended so did not run all scenarios.
fn broken(said: Option<String>, end: &Result<End>, done: bool, limit: Duration) -> Option<String> {
    match end {
        Err(why) => Some(format!("{why:#}")),
        Ok(_) if said.is_some() => said,
        Ok(_) if done => None,
        Ok(End::Killed) => Some(format!("it was not done after {} minutes", limit.as_secs() / 60)),
        Ok(End::Off) => Some("it ended before it was done".to_owned()),
    }
}

/// How far a guest came.
fn ran(verdicts: &[Verdict]) -> String {
    verdicts.last().map_or_else(
        || "no scenario was run".to_owned(),
        |last| format!("{} scenarios were run, the last of them {}", verdicts.len(), last.scenario),
    )
}

/// How many guests this machine runs at a time.
pub(super) fn cpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// A guest as people call it.
pub(super) fn name(line: &str, arch: Arch, backend: Backend) -> String {
    format!("{line} {} {}", arch.name(), backend.name())
}

/// The file of a guest in the run's folder.
pub(super) fn file(folder: &Path, line: &str, arch: Arch, what: &str) -> PathBuf {
    folder.join(format!("{line}-{}-{what}", arch.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::table::tests::reports;

    #[test]
    fn a_run_is_repeated_if_it_lost_records_to_nesting_alone() {
        let summary = |why: &str| {
            let verdict = Verdict {
                scenario: "summary".to_owned(),
                backend: None,
                outcome: Outcome::Fail,
                why: Some(why.to_owned()),
            };
            Report { verdicts: vec![verdict], ..reports()[0].clone() }
        };
        let nested = summary(r#"lost 24: {"recursion":24}"#);
        assert_eq!(nested.lost_to_nesting().as_deref(), Some("24 records were lost to nesting"));
        assert_eq!(Report { complaints: vec!["BUG".to_owned()], ..nested }.lost_to_nesting(), None);
        for other in [r#"lost 25: {"recursion":24,"ring_state":1}"#, r#"not balanced: ["lost 1: {}"]"#] {
            assert_eq!(summary(other).lost_to_nesting(), None, "{other}");
        }
        assert_eq!(reports()[0].lost_to_nesting(), None);
    }

    #[test]
    fn only_a_guest_that_said_done_ran_everything() {
        let limit = Duration::from_secs(600);
        assert_eq!(broken(None, &Ok(End::Off), true, limit), None);
        assert!(broken(None, &Ok(End::Off), false, limit).is_some_and(|why| why.contains("before")));
        assert!(broken(None, &Ok(End::Killed), false, limit).is_some_and(|why| why.contains("10 minutes")));
        assert_eq!(
            broken(Some("no port".to_owned()), &Ok(End::Off), true, limit).as_deref(),
            Some("no port")
        );
        assert!(broken(None, &Err(anyhow::anyhow!("no QEMU")), false, limit).is_some());
    }
}

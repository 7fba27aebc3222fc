//! How far the guests are, on standard error: a block kept up to date on a terminal, else a line now and then.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::{Duration, Instant};

use super::port::{Heard, Outcome};
use super::run::{Event, Guest, Report};

pub(super) struct Progress {
    guests: Vec<State>,
    terminal: bool,
    every: Duration,
    next: Instant,
    /// Lines of the block that stands on the terminal now.
    drawn: usize,
}

/// Where a guest is.
#[derive(Debug)]
struct State {
    name: String,
    phase: Phase,
    total: Option<u64>,
    run: u64,
    failed: u64,
    last: String,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Waiting,
    Booting(Instant),
    Running(Instant),
    Over,
}

impl Progress {
    pub(super) fn new(guests: &[Guest]) -> Self {
        let terminal = stderr().is_terminal();
        let every = if terminal { Duration::from_millis(500) } else { Duration::from_secs(20) };
        let guests = guests.iter().map(|guest| State::new(guest.name()));
        Self { guests: guests.collect(), terminal, every, next: Instant::now() + every, drawn: 0 }
    }

    pub(super) fn hear(&mut self, place: usize, event: &Event) {
        self.guests[place].hear(event);
        if let Event::Ended(report) = event {
            self.wipe();
            eprintln!("vm: {}: {}", self.guests[place].name, ending(report));
        } else if let (Event::Started, false) = (event, self.terminal) {
            eprintln!("vm: {}: booting", self.guests[place].name);
        }
    }

    /// Says where things are, if it is time to.
    pub(super) fn tell(&mut self) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + self.every;
        self.wipe();
        for line in self.guests.iter().filter_map(State::line) {
            eprintln!("vm: {line}");
            self.drawn += 1;
        }
        let waiting = self.guests.iter().filter(|guest| matches!(guest.phase, Phase::Waiting)).count();
        if waiting > 0 && self.terminal {
            eprintln!("vm: {waiting} more to come");
            self.drawn += 1;
        }
    }

    pub(super) fn close(&mut self) {
        self.wipe();
    }

    fn wipe(&mut self) {
        if self.terminal && self.drawn > 0 {
            eprint!("\x1b[{}A\x1b[J", self.drawn);
            // A terminal that is gone takes nothing of value with it.
            drop(stderr().flush());
        }
        self.drawn = 0;
    }
}

impl State {
    fn new(name: String) -> Self {
        Self { name, phase: Phase::Waiting, total: None, run: 0, failed: 0, last: String::new() }
    }

    fn hear(&mut self, event: &Event) {
        match event {
            // For the first time, or once more.
            Event::Started => {
                (self.phase, self.run, self.failed) = (Phase::Booting(Instant::now()), 0, 0);
            }
            Event::Heard(Heard::Ready { .. }) => self.phase = Phase::Running(Instant::now()),
            Event::Heard(Heard::Total(total)) => self.total = Some(self.run + *total),
            Event::Heard(Heard::Verdict(verdict)) => {
                self.run += 1;
                self.failed += u64::from(verdict.outcome == Outcome::Fail);
                self.last.clone_from(&verdict.scenario);
            }
            Event::Heard(Heard::Done | Heard::Failed(_) | Heard::Other) => {}
            Event::Ended(_) => self.phase = Phase::Over,
        }
    }

    /// The guest's line, while it runs.
    fn line(&self) -> Option<String> {
        let (what, since) = match self.phase {
            Phase::Waiting | Phase::Over => return None,
            Phase::Booting(since) => ("booting".to_owned(), since),
            Phase::Running(since) => (self.scenarios(), since),
        };
        Some(format!("{}: {what} [{} s]", self.name, since.elapsed().as_secs()))
    }

    fn scenarios(&self) -> String {
        let mut text = self.run.to_string();
        if let Some(total) = self.total {
            text.push_str(&format!(" of {total}"));
        }
        text.push_str(" scenarios");
        if self.failed > 0 {
            text.push_str(&format!(", {} failed", self.failed));
        }
        if !self.last.is_empty() {
            text.push_str(&format!(", last {}", self.last));
        }
        text
    }
}

/// A guest's end in one line.
fn ending(report: &Report) -> String {
    let mut counts = Vec::new();
    for outcome in Outcome::ALL {
        let count = report.count(outcome);
        if count > 0 {
            counts.push(format!("{count} {}", outcome.name()));
        }
    }
    let state = if report.broken.is_some() { "BROKEN" } else { "done" };
    let counts = if counts.is_empty() { "no scenario".to_owned() } else { counts.join(", ") };
    format!("{state}, {counts} [{} s, {}]", report.took.as_secs(), report.release)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::port::parse;

    #[test]
    fn a_guest_tells_how_many_scenarios_it_ran() {
        let mut state = State::new("6.12".to_owned());
        assert_eq!(state.line(), None);
        state.hear(&Event::Started);
        assert!(state.line().expect("a line").starts_with("6.12: booting ["));
        for line in [
            r#"{"guest":"ready","release":"6.12.1"}"#,
            r#"{"scenarios":3}"#,
            r#"{"scenario":"a","outcome":"pass"}"#,
            r#"{"scenario":"b","outcome":"fail"}"#,
        ] {
            state.hear(&Event::Heard(parse(line)));
        }
        assert!(state.line().expect("a line").starts_with("6.12: 2 of 3 scenarios, 1 failed, last b ["));
    }
}

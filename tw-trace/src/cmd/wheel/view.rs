//! From the kernel's counts to lines: one look per interval, and the end.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tw_trace_common::wheel::Burst;

use super::{
    audit::{self, Verdict},
    frame::{Jiffies, State, Wheels, extreme},
    json, text,
};
use crate::{
    escape,
    header::Header,
    kernel::{
        load::Loaded,
        wheel::{Counted, Slots},
    },
    output::Output,
    sink::{self, Style},
    warning::Warning,
    watch::{End, View},
};

/// One interval.
pub struct Look<'a> {
    pub now_ns: u64,
    pub interval_ns: u64,
    pub wheels: &'a Wheels,
    /// What came in it.
    pub since: &'a State,
}

/// The whole run.
pub struct Ending<'a> {
    pub wheels: &'a Wheels,
    pub state: &'a State,
    pub longest: Option<Burst>,
    pub largest: Option<Burst>,
    pub uncovered: Vec<String>,
    /// CLOCK_MONOTONIC.
    pub from_ns: u64,
    pub to_ns: u64,
}

/// How it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text(Style),
    Json,
}

pub struct WheelView {
    pub out: Output,
    pub format: Format,
    pub slots: Slots,
    pub jiffies: Jiffies,
    pub header: Header,
    /// Whether a summary is wanted.
    pub summary: bool,
    pub one_namespace: bool,
    /// The state at the last look, and when that was.
    last: (State, u64),
}

impl WheelView {
    pub fn new(
        out: Output,
        format: Format,
        slots: Slots,
        jiffies: Jiffies,
        [summary, one_namespace]: [bool; 2],
    ) -> Self {
        let last = (State::default(), 0);
        Self { out, format, slots, jiffies, header: Header::default(), summary, one_namespace, last }
    }

    fn tell(&mut self, bytes: &[u8]) -> Result<()> {
        let told = self.out.write_all(bytes).and_then(|()| self.out.flush());
        told.context("writing to standard output")
    }

    fn tell_end(&mut self, counted: &Counted, end: &End) -> Result<Verdict> {
        // Bursts that were going on are over now: nothing is attached.
        let state = State::of(counted, u64::MAX);
        let wheels = Wheels::of(counted, self.jiffies, end.to_ns);
        let verdict = audit::verdict(&state.sums, &state.bursts, &wheels, end, self.one_namespace);
        if self.summary {
            let ending = Ending {
                wheels: &wheels,
                state: &state,
                longest: extreme(counted, |cpu| cpu.longest, Burst::lasted),
                largest: extreme(counted, |cpu| cpu.largest, |burst| burst.timers),
                uncovered: end.uncovered.clone(),
                from_ns: end.from_ns,
                to_ns: end.to_ns,
            };
            let told = match self.format {
                Format::Json => line(&json::summary(&ending, &self.header, &verdict)),
                Format::Text(_) => text::summary(&ending, &verdict),
            };
            self.tell(told.as_bytes())?;
        }
        Ok(verdict)
    }
}

impl View for WheelView {
    fn header(&mut self, header: &Header) -> Result<()> {
        self.header = header.clone();
        self.last.1 = header.started_mono_ns;
        let line = match self.format {
            Format::Json => sink::json::header(header),
            Format::Text(style) => sink::text::header(header, style),
        };
        self.tell(&line)
    }

    fn follows_sockets(&self) -> bool {
        false
    }

    fn wall_clock(&mut self, realtime_offset_ns: i64) {
        self.header.realtime_offset_ns = realtime_offset_ns;
    }

    fn interval(&mut self, loaded: &Loaded, now_ns: u64) -> Result<()> {
        let counted = loaded.wheel(&self.slots)?;
        let state = State::of(&counted, now_ns);
        let wheels = Wheels::of(&counted, self.jiffies, now_ns);
        let since = state.since(&self.last.0);
        let look = Look { now_ns, interval_ns: now_ns - self.last.1, wheels: &wheels, since: &since };
        let told = match self.format {
            Format::Json => line(&json::interval(&look, &self.header, self.jiffies)),
            Format::Text(_) => text::interval(&look, self.header.started_mono_ns, self.jiffies),
        };
        self.last = (state, now_ns);
        self.tell(told.as_bytes())
    }

    fn finish(&mut self, loaded: &Loaded, end: &End) -> Result<()> {
        let verdict = self.tell_end(&loaded.wheel(&self.slots)?, end)?;
        if verdict.lost > 0 {
            Warning::TimersLost { count: verdict.lost }.tell();
        }
        if verdict.balanced == Some(false) {
            Warning::Unbalanced { why: verdict.problems.join("; ") }.tell();
        }
        Ok(())
    }
}

fn line(value: &Value) -> String {
    String::from_utf8_lossy(&escape::json(value)).into_owned() + "\n"
}

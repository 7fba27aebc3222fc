//! `tw-trace doctor`: what this kernel supports, and what its TCP settings really do to TIME_WAIT.
//!
//! Attaches nothing and works without privileges; what it cannot tell it says, with the reason.

use std::io::{self, Write};

use anyhow::Context as _;
use tw_trace_common::event::Kind;

use crate::cli::DoctorArgs;
use crate::exit::Unable;
use crate::kernel::facts::{Facts, Told, Untold};
use crate::kernel::netns::{Counters, Sysctls};
use crate::kernel::plan::{Backend, Plan, Wants};
use crate::kernel::prepare::Prepared;

mod json;
mod settings;
#[cfg(test)]
mod tests;
mod text;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// What one backend could do here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendReport {
    pub name: &'static str,
    pub usable: bool,
    /// What is missing, its consequence and the next step.
    pub why_not: Option<String>,
    pub blind_spots: Vec<String>,
    /// What stands in for what this kernel does not have.
    pub replaced: Vec<String>,
    /// What it attaches to see everything: the program, and where.
    pub programs: Vec<(&'static str, String)>,
}

/// All that doctor tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub facts: Facts,
    pub backends: Vec<BackendReport>,
    /// The backend that `--backend auto` takes.
    pub auto: Option<&'static str>,
    /// The programs that it then attaches to see everything.
    pub programs: Vec<String>,
    pub sysctls: Sysctls,
    pub counters: Told<Counters>,
}

impl Report {
    /// Asks `plan` about every backend; settings and counters are of the current network namespace.
    pub fn new(facts: Facts, plan: impl Fn(Backend) -> Result<Plan, String>) -> Self {
        let plans = Backend::ALL.map(|backend| (backend, plan(backend)));
        // As plan::auto does: the first that works.
        let auto = plans.iter().find_map(|(_, plan)| plan.as_ref().ok());
        Self {
            auto: auto.map(|plan| plan.backend.name()),
            programs: auto
                .iter()
                .flat_map(|plan| &plan.programs)
                .map(|program| program.name.to_owned())
                .collect(),
            backends: plans.into_iter().map(|(backend, plan)| BackendReport::new(backend, plan)).collect(),
            facts,
            sysctls: Sysctls::read(),
            counters: Counters::read().map_err(|error| Untold(format!("{error:#}"))),
        }
    }

    /// Whether tw-trace can work here with the privileges that it has now.
    pub fn usable(&self) -> bool {
        self.backends.iter().any(|backend| backend.usable)
    }
}

impl BackendReport {
    fn new(backend: Backend, plan: Result<Plan, String>) -> Self {
        let name = backend.name();
        match plan {
            Ok(plan) => Self {
                name,
                usable: true,
                why_not: None,
                programs: plan.programs.iter().map(|one| (one.name, one.attach.to_string())).collect(),
                blind_spots: plan.blind_spots,
                replaced: plan.replaced,
            },
            Err(why) => Self {
                name,
                usable: false,
                why_not: Some(why),
                programs: Vec::new(),
                blind_spots: Vec::new(),
                replaced: Vec::new(),
            },
        }
    }
}

/// The command: the report on standard output; [`Unable`] when no backend works.
pub fn doctor(args: &DoctorArgs) -> anyhow::Result<()> {
    let format = if args.json { Format::Json } else { Format::Text };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let prepared = Prepared::read(args.btf.as_deref())?;
    let usable = run(format, &prepared, &mut out)
        .and_then(|usable| out.flush().map(|()| usable))
        .context("writing to standard output")?;
    if usable {
        Ok(())
    } else {
        Err(Unable("no backend works here; the report says what is missing".to_owned()).into())
    }
}

/// Writes the report on this kernel. Tells whether a backend is usable.
pub fn run(format: Format, prepared: &Prepared, out: &mut impl Write) -> io::Result<bool> {
    let everything = Wants::kinds(Kind::ALL);
    let report = Report::new(prepared.facts.clone(), |backend| {
        prepared.plan(Some(backend), everything).map_err(|unable| unable.to_string())
    });
    render(&report, format, out)?;
    Ok(report.usable())
}

pub fn render(report: &Report, format: Format, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Text => text::render(report, out),
        Format::Json => {
            out.write_all(&crate::escape::json(&json::value(report)))?;
            writeln!(out)
        }
    }
}

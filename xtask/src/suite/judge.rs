//! How each scenario came out: golden, kernel's figures, expectations, durations, and the tracer's own audit.

use anyhow::Result;
use serde_json::Value;

use super::golden::{self, Match};
use super::normal::{Line, normalised};
use super::perform::Performed;
use super::players::Player;
use super::wheel_view::{self, Company};
use super::{Lateness, demux, hist_view, listing, nested, truth, wheel};
use crate::backend::Backend;
use crate::traffic::capability::Capabilities;
use crate::traffic::difference::Difference;
use crate::traffic::scenario::Begins;

/// What the run was.
pub(super) struct Case<'a> {
    pub(super) backend: Backend,
    pub(super) capabilities: &'a Capabilities,
    pub(super) lateness: Lateness,
    pub(super) company: Company,
}

pub(super) struct Verdict {
    pub(super) name: &'static str,
    pub(super) outcome: Outcome,
    pub(super) lines: Vec<Line>,
    pub(super) matched: Option<Match>,
    pub(super) differences: &'static [Difference],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Pass,
    Difference(String),
    Skipped(String),
    Fail(String),
}

/// One verdict per scenario, one on the tracer's summary, and one on each counting view beside it.
pub(super) fn all(case: &Case<'_>, performed: &Performed) -> Result<Vec<Verdict>> {
    let events = performed.trace.events()?;
    let tick_ns = performed.trace.header["tick_ns"].as_u64().unwrap_or(0);
    let mut verdicts: Vec<_> = performed
        .players
        .iter()
        .map(|player| {
            let events = demux::events_of(player, &events);
            scenario(case, player, &events, tick_ns)
        })
        .collect();
    verdicts.push(of_the_run("summary", summary(&performed.trace.summary)));
    let of_wheel = wheel_view::outcome(&performed.wheel.summary, &performed.trace.summary, case.company);
    verdicts.push(of_the_run("wheel", of_wheel));
    let hist = &performed.hist;
    verdicts.push(of_the_run("hist", hist_view::outcome(&hist.events()?, &hist.summary, case.company)));
    Ok(verdicts)
}

fn scenario(case: &Case<'_>, player: &Player, events: &[&Value], tick_ns: u64) -> Verdict {
    let scenario = player.scenario;
    let verdict = |outcome, lines, matched| Verdict {
        name: scenario.name,
        outcome,
        lines,
        matched,
        differences: scenario.differences,
    };
    let why = player.played["why"].as_str().unwrap_or("it said nothing").to_owned();
    match player.played["says"].as_str() {
        Some("lacking") => return verdict(Outcome::Skipped(why), Vec::new(), None),
        Some("played") => {}
        _ => return verdict(Outcome::Fail(why), Vec::new(), None),
    }
    let lines = normalised(player, events);
    let mut problems = problems(case, player, events, tick_ns);
    if let Some(why) = player.played["disturbed"].as_str() {
        problems.push(format!("the machine was too busy, however often it was tried: {why}"));
    }
    let applying: Vec<_> = scenario
        .differences
        .iter()
        .filter(|difference| golden::applies(difference, case.backend, case.capabilities))
        .collect();
    let matched = match golden::find(scenario.name) {
        Ok(golden) => golden::compare(&golden, &lines, &applying),
        Err(error) => Match::No(vec![format!("{error:#}")]),
    };
    if let Match::No(diff) = &matched {
        problems.push(format!("not as the golden has it (-) but (+):\n{}", diff.join("\n")));
    }
    let outcome = match &matched {
        _ if !problems.is_empty() => Outcome::Fail(problems.join("\n")),
        Match::Different(reasons) => Outcome::Difference(reasons.join("; ")),
        Match::Same | Match::No(_) => Outcome::Pass,
    };
    verdict(outcome, lines, Some(matched))
}

/// Everything but the golden.
fn problems(case: &Case<'_>, player: &Player, events: &[&Value], tick_ns: u64) -> Vec<String> {
    let own = &player.hello["netns"];
    let here: Vec<_> = events.iter().copied().filter(|event| event["netns"] == *own).collect();
    let lives = truth::lives(&here);
    let tcpext = &player.over["tcpext"];
    let mut problems = truth::expectation_problems(player.scenario, &lives, tcpext);
    problems.extend(truth::counter_problems(tcpext, &lives, case.capabilities));
    problems.extend(truth::dwell_problems(&here));
    problems.extend(listing::problems(&player.played["listing"], &lives, tick_ns));
    // Thousands of timers of one slot take longer than a tick.
    let lateness = match player.scenario.begins {
        Begins::WhenWatched => case.lateness,
        Begins::BeforeTracer => Lateness::Tolerant,
    };
    let expired = events.iter().filter(|event| event["event"] == "tw_exit" && event["reason"] == "expired");
    problems.extend(expired.flat_map(|exit| wheel::problems(exit, tick_ns, lateness)));
    problems
}

fn summary(summary: &Value) -> Outcome {
    if summary["lost"] != 0 {
        Outcome::Fail(nested::loss(summary))
    } else if summary["balanced"] != true {
        Outcome::Fail(format!("not balanced: {}", summary["unbalanced"]))
    } else {
        Outcome::Pass
    }
}

fn of_the_run(name: &'static str, outcome: Outcome) -> Verdict {
    Verdict { name, outcome, lines: Vec::new(), matched: None, differences: &[] }
}

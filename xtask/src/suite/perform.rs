//! Who does what when: players into their namespaces, seeds, tracer, scenarios, and the end of it all.

use std::collections::VecDeque;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

use super::players::{Player, Players, What};
use super::report;
use super::tracer::{Trace, Tracer};
use super::wheel_view::Company;
use crate::backend::Backend;
use crate::traffic::scenario::{Begins, Scenario};

/// Scenarios that provoke at a time; any number may be waiting for their time-wait sockets to end.
const AT_A_TIME: usize = 8;
/// A busy machine gets so many chances to do what was asked of it in time.
const ATTEMPTS: u32 = 4;
/// Wider than a slot of the timer wheel at any HZ: what was there before the tracer, in its thousands, must not
/// fire in one burst with what is timed to the tick.
const APART: Duration = Duration::from_millis(5_300);
/// The tracer drains its ring every tenth of a second.
const LAST_RECORDS: Duration = Duration::from_millis(500);

/// What came of it.
pub(super) struct Performed {
    pub(super) trace: Trace,
    pub(super) wheel: Trace,
    pub(super) hist: Trace,
    /// The last attempt at each scenario.
    pub(super) players: Vec<Player>,
}

pub(super) fn perform(
    tw_trace: &Path,
    backend: Backend,
    company: Company,
    scenarios: &[&'static Scenario],
) -> Result<Performed> {
    let mut players = Players::new();
    for &scenario in scenarios {
        players.add(scenario)?;
    }
    // Namespaces that are there before the tracer are audited by it from their first event to their last.
    for _ in scenarios {
        players.next().context("entering namespaces")?;
    }
    let early: Vec<_> =
        (0..scenarios.len()).filter(|number| scenarios[*number].begins == Begins::BeforeTracer).collect();
    for &number in &early {
        players.cue(number)?;
        // A failure is told as played, and looked at with all others.
        players.next().context("seeding")?;
    }
    let tracer = Tracer::trace(tw_trace, backend)?;
    let wheel = Tracer::wheel(tw_trace)?;
    let hist = Tracer::hist(tw_trace, backend, company)?;
    report::progress(&format!("tw-trace watches ({}); {} scenarios begin", backend.name(), scenarios.len()));
    let mut stage = Stage::new(players, scenarios.len());
    for number in early {
        stage.go(number)?;
    }
    if stage.playing > 0 {
        sleep(APART);
    }
    stage.run()?;
    sleep(LAST_RECORDS);
    let hist = hist.stop()?;
    let wheel = wheel.stop()?;
    let trace = tracer.stop()?;
    Ok(Performed { trace, wheel, hist, players: stage.last_attempts() })
}

/// Keeps some scenarios going until all are over.
struct Stage {
    players: Players,
    waiting: VecDeque<usize>,
    playing: usize,
    over: Vec<bool>,
    attempts: Vec<u32>,
}

impl Stage {
    fn new(players: Players, count: usize) -> Self {
        let waiting =
            (0..count).filter(|number| players.all[*number].scenario.begins == Begins::WhenWatched).collect();
        Self { players, waiting, playing: 0, over: vec![false; count], attempts: vec![1; count] }
    }

    fn go(&mut self, number: usize) -> Result<()> {
        if self.players.all[number].played.is_null() {
            self.players.cue(number)?;
            self.playing += 1;
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        while self.over.contains(&false) {
            while self.playing < AT_A_TIME {
                let Some(number) = self.waiting.pop_front() else { break };
                self.go(number)?;
            }
            let (number, what) = self.players.next()?;
            match what {
                What::Hello => self.waiting.push_back(number),
                What::Waiting => {}
                What::Played => {
                    self.playing -= 1;
                    self.played(number)?;
                }
                What::Broke => {
                    self.playing -= 1;
                    self.over[number] = true;
                }
                What::Over | What::Gone => self.over[number] = true,
            }
        }
        Ok(())
    }

    fn played(&mut self, number: usize) -> Result<()> {
        let player = &self.players.all[number];
        let scenario = player.scenario;
        let disturbed = player.played["disturbed"].as_str().map(str::to_owned);
        match disturbed {
            Some(why) if self.attempts[number] < ATTEMPTS && scenario.begins == Begins::WhenWatched => {
                report::progress(&format!("{}: once more, the machine was too busy: {why}", scenario.name));
                let again = self.players.add(scenario)?;
                self.over.push(false);
                self.attempts.push(self.attempts[number] + 1);
                debug_assert_eq!(again + 1, self.over.len());
            }
            _ => {
                report::progress(&format!("{} played", scenario.name));
            }
        }
        Ok(())
    }

    /// In the order of the scenarios, the last player of each.
    fn last_attempts(mut self) -> Vec<Player> {
        let mut last: Vec<Player> = Vec::new();
        for player in std::mem::take(&mut self.players.all) {
            match last.iter_mut().find(|known| known.scenario.name == player.scenario.name) {
                Some(known) => *known = player,
                None => last.push(player),
            }
        }
        last
    }
}

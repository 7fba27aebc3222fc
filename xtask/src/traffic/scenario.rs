//! What a scenario is, the list of all of them, and how one is run and held against the kernel's counters.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::counters::{Counters, living};
use super::difference::Difference;
use super::expect::Expect;
use super::scene::Scene;
use super::{
    closing, early, fast_open, fin_wait2, handshake, interfaces, orphans, owners, rearm, resets, seeds,
    settings,
};

/// One way to use and end connections.
#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// The port that is listened on: every connection of the scenario has it at one end.
    pub port: u16,
    pub about: &'static str,
    pub expect: Expect,
    /// Repetitions in the suite.
    pub times: u32,
    pub begins: Begins,
    /// Where the kernel forces the events to differ from the golden.
    pub differences: &'static [Difference],
    run: fn(&mut Scene) -> Result<()>,
}

/// When a scenario begins in the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    WhenWatched,
    /// Its sockets are there, in their thousands, before the tracer.
    BeforeTracer,
}

/// All of them, theme by theme. Ports are unique, below the ephemeral range that [`crate::netns::enter_new`] sets.
const THEMES: &[&[Scenario]] = &[
    handshake::SCENARIOS,
    fast_open::SCENARIOS,
    closing::SCENARIOS,
    fin_wait2::SCENARIOS,
    orphans::SCENARIOS,
    resets::SCENARIOS,
    early::SCENARIOS,
    rearm::SCENARIOS,
    settings::SCENARIOS,
    owners::SCENARIOS,
    interfaces::SCENARIOS,
    seeds::SCENARIOS,
];

pub fn all() -> impl Iterator<Item = &'static Scenario> {
    THEMES.iter().copied().flatten()
}

/// The scenario of this name.
pub fn find(name: &str) -> Result<&'static Scenario> {
    all().find(|scenario| scenario.name == name).with_context(|| {
        let names: Vec<_> = all().map(|scenario| scenario.name).collect();
        format!("there is no scenario {name}; there are {}", names.join(", "))
    })
}

/// How a theme's table is written.
impl Scenario {
    pub(super) const fn new(
        name: &'static str,
        port: u16,
        about: &'static str,
        expect: Expect,
        run: fn(&mut Scene) -> Result<()>,
    ) -> Self {
        Self { name, port, about, expect, times: 1, begins: Begins::WhenWatched, differences: &[], run }
    }

    pub(super) const fn differs(self, differences: &'static [Difference]) -> Self {
        Self { differences, ..self }
    }

    /// Its sockets are there before the tracer, and so many that they are told of by kind, not one by one.
    pub(super) const fn before_the_tracer(self) -> Self {
        Self { begins: Begins::BeforeTracer, ..self }
    }

    pub(super) const fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }
}

impl Scenario {
    /// Runs it `count` times in the calling thread's namespace and holds the kernel's counters against it.
    pub fn run(&self, count: u32) -> Result<Value> {
        let before = Counters::read()?;
        let mut scene = self.scene(count);
        self.play(&mut scene)?;
        Ok(json!({
            "scenario": self.name,
            "count": count,
            "connections": self.expect.connections * count,
            "began": self.expect.began * count,
            "closing": scene.closing,
            "tcpext": Counters::read()?.since(&before).to_json(),
        }))
    }

    /// A scene to play it in, `count` times over.
    pub fn scene(&self, count: u32) -> Scene {
        Scene::new(self.port, count)
    }

    /// Plays it in the calling thread's namespace; returns when the kernel has counted all that it expects.
    pub fn play(&self, scene: &mut Scene) -> Result<()> {
        let (before, living) = (Counters::read()?, living()?);
        (self.run)(scene).with_context(|| format!("scenario {}", self.name))?;
        self.settle(&before, living, scene.count)
    }

    /// Waits until the counters have grown as expected; the last ACKs may still be on their way.
    fn settle(&self, before: &Counters, living_before: u64, count: u32) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(3);
        let ended = self.expect.ended.map_or(0, |(each, _)| each);
        let wanted = [self.expect.began - ended, self.expect.overflow, self.expect.recycled];
        let wanted = wanted.map(|each| u64::from(each) * u64::from(count));
        loop {
            let counted = Counters::read()?.since(before);
            let got = [living()?.saturating_sub(living_before), counted.overflow, counted.tw_recycled];
            if got == wanted {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "scenario {}: the kernel counts [living, overflowed, recycled] {got:?}, not {wanted:?}",
                    self.name
                );
            }
            sleep(Duration::from_millis(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ports_are_unique_and_below_the_ephemeral_range() {
        let all: Vec<_> = all().collect();
        for (index, scenario) in all.iter().enumerate() {
            assert!(scenario.port < 10_000, "{}", scenario.name);
            assert!(
                all[..index].iter().all(|other| other.name != scenario.name && other.port != scenario.port)
            );
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = find("nonsense").unwrap_err().to_string();
        assert!(message.contains("client_first") && message.contains("rearm_paws"));
    }
}

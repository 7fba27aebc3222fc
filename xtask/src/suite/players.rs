//! The players: one process per scenario, what it says, and what we say to it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::stuck::threads;
use crate::traffic::scenario::Scenario;

/// Longer than any scenario is silent: a time-wait socket of one that was re-armed late.
const PATIENCE: Duration = Duration::from_secs(240);

pub(super) struct Player {
    pub(super) scenario: &'static Scenario,
    child: Child,
    stdin: ChildStdin,
    pub(super) hello: Value,
    /// What it did, or why it did not.
    pub(super) played: Value,
    /// The counters at its end.
    pub(super) over: Value,
}

/// A player's number, and what it said.
type Said = (usize, Value);

/// All of them. Dropping this ends them.
pub(super) struct Players {
    pub(super) all: Vec<Player>,
    tell: Sender<Said>,
    heard: Receiver<Said>,
}

impl Players {
    pub(super) fn new() -> Self {
        let (tell, heard) = channel();
        Self { all: Vec::new(), tell, heard }
    }

    /// Starts one, in a network namespace of its own; its number. It says hello when it is there.
    pub(super) fn add(&mut self, scenario: &'static Scenario) -> Result<usize> {
        let mut command = Command::new(std::env::current_exe().context("the path of this xtask")?);
        command.args(["play", scenario.name]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting a player")?;
        let stdin = child.stdin.take().context("its standard input")?;
        let stdout = BufReader::new(child.stdout.take().context("its standard output")?);
        let (number, tell) = (self.all.len(), self.tell.clone());
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let said =
                    serde_json::from_str(&line).unwrap_or_else(|_| json!({"says": "nonsense", "why": line}));
                if tell.send((number, said)).is_err() {
                    return;
                }
            }
            let _ = tell.send((number, json!({"says": "gone"})));
        });
        self.all.push(Player {
            scenario,
            child,
            stdin,
            hello: Value::Null,
            played: Value::Null,
            over: Value::Null,
        });
        Ok(number)
    }

    /// Lets one go on.
    pub(super) fn cue(&mut self, number: usize) -> Result<()> {
        let player = &mut self.all[number];
        player.stdin.write_all(b"\n").with_context(|| format!("{} does not listen", player.scenario.name))
    }

    /// The next thing that one of them says, noted.
    pub(super) fn next(&mut self) -> Result<(usize, What)> {
        let (number, said) = self
            .heard
            .recv_timeout(PATIENCE)
            .with_context(|| format!("no scenario says anything any more\n{}", self.stuck()))?;
        let player = &mut self.all[number];
        let name = player.scenario.name;
        let what = match said["says"].as_str() {
            Some("hello") => {
                player.hello = said;
                What::Hello
            }
            Some("waiting") => What::Waiting,
            Some("played" | "lacking" | "failed") => {
                player.played = said;
                What::Played
            }
            Some("over") => {
                player.over = said;
                What::Over
            }
            Some("gone") => {
                if player.hello.is_null() {
                    bail!("{name} could not even begin; it said why above");
                }
                let while_playing = player.played.is_null();
                if player.over.is_null() {
                    player.played = json!({
                        "says": "failed",
                        "why": "its process ended; it may have said why above",
                    });
                }
                if while_playing { What::Broke } else { What::Gone }
            }
            _ => bail!("{name} said {said}"),
        };
        Ok((number, what))
    }
}

impl Players {
    /// What those wait for that are not over.
    fn stuck(&self) -> String {
        let left = self.all.iter().filter(|player| player.over.is_null());
        left.map(|player| format!("{}: {}", player.scenario.name, threads(player.child.id()))).collect()
    }
}

/// What a player said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Its namespace is there.
    Hello,
    /// Its sockets are there, it waits for the tracer.
    Waiting,
    /// Everything was provoked, or not.
    Played,
    /// No time-wait socket is left.
    Over,
    /// Its process has ended while it played.
    Broke,
    /// Its process has ended.
    Gone,
}

impl Drop for Players {
    fn drop(&mut self) {
        for player in &mut self.all {
            let _ = player.child.kill();
            let _ = player.child.wait();
        }
    }
}

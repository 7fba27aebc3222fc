//! The load: connections made by a process of its own, in a namespace of its own, when it is told to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use xtask::stuck::Limit;

use super::machine::{self, Busy, Cpu};

/// For anything that the load is asked for.
const LIMIT: Duration = Duration::from_mins(15);

/// What all loads of a run have in common.
#[derive(Clone)]
pub(crate) struct Offer {
    /// The program that makes the load: this one.
    pub(crate) xtask: PathBuf,
    pub(crate) connections: u32,
    /// Of client and server threads.
    pub(crate) pairs: u32,
    pub(crate) per_second: Option<u32>,
    /// Sockets in TIME_WAIT before the tracer starts.
    pub(crate) standing: u32,
}

/// What a load came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Connections a second.
    pub(crate) rate: f64,
    /// CPU of the whole machine while it ran, by connection.
    pub(crate) machine: Cpu,
    /// CPU of the connecting process alone, in microseconds by connection.
    pub(crate) process_us: f64,
    /// The share of the machine's CPU that others used just before.
    pub(crate) others: f64,
}

/// The load's process, waiting for its start.
pub(crate) struct Generator {
    child: Child,
    lines: BufReader<ChildStdout>,
    connections: u32,
    others: f64,
    /// The namespace's inode.
    pub(crate) netns: u64,
}

impl Generator {
    pub(crate) fn start(offer: &Offer) -> Result<Self> {
        // The kernel still clears up what the load before has left: that is not to be measured.
        let others = machine::settle()?;
        let mut command = Command::new(&offer.xtask);
        command.args(["traffic", "--new-netns", "--wait-for-stdin", "--hold", "600", "rate"]);
        command.args(["--connections", &offer.connections.to_string(), "--pairs", &offer.pairs.to_string()]);
        command.args(["--standing", &offer.standing.to_string()]);
        if let Some(rate) = offer.per_second {
            command.args(["--per-second", &rate.to_string()]);
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting the load")?;
        let lines = BufReader::new(child.stdout.take().context("the load's output")?);
        let mut generator = Self { child, lines, connections: offer.connections, others, netns: 0 };
        generator.netns = generator.line()?["netns"].as_u64().context("the load's network namespace")?;
        Ok(generator)
    }

    /// The process, for those who look into its namespace.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        let limit = Limit::on(self.child.id(), LIMIT);
        self.lines.read_line(&mut line).context("reading what the load says")?;
        limit.over().context("the load")?;
        serde_json::from_str(&line).with_context(|| format!("the load said {line:?}"))
    }

    pub(crate) fn go(&mut self) -> Result<Load> {
        let before = Busy::now()?;
        let start = self.child.stdin.as_mut().context("the load's input")?;
        start.write_all(b"\n").context("starting the load")?;
        let report = self.line()?;
        let machine = Busy::now()?.since(&before).by(self.connections);
        let figure = |name: &str| report[name].as_f64().with_context(|| format!("the load told no {name}"));
        Ok(Load {
            rate: figure("per_second")?,
            machine,
            process_us: figure("cpu_us_per_connection")?,
            others: self.others,
        })
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // Its namespace goes with it; the end of its input ends it.
        drop(self.child.stdin.take());
        let limit = Limit::on(self.child.id(), LIMIT);
        let _ = self.child.wait();
        if let Err(stuck) = limit.over() {
            eprintln!("the load: {stuck}");
        }
    }
}

//! The demo's two processes, the traffic and the tracer, and what is heard from them.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{COUNT, Unable};
use crate::stuck::Limit;
use crate::traffic::scenario::Scenario;

/// One thing heard.
pub(super) enum Heard {
    /// A line of the tracer, as printed and as JSON.
    Trace(String, Value),
    /// What the traffic says of a finished scenario.
    Traffic(Value),
    Ended(&'static str),
}

/// A child that does not outlive the demo.
struct Player(Child);

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) struct Stage {
    pub(super) netns: u64,
    /// Of the traffic.
    pub(super) pid: u64,
    /// The tracer's first line.
    pub(super) header: Value,
    pub(super) heard: Receiver<Heard>,
    tracer: Player,
    /// Closing it ends the traffic's process.
    traffic_stdin: ChildStdin,
    traffic: Player,
    /// From when the tracer is asked to end.
    ending: Option<Limit>,
}

/// A start, and an end, of either process.
const LIMIT: Duration = Duration::from_mins(2);

impl Stage {
    /// Starts both; when this returns, the tracer is watching and the traffic waits.
    pub(super) fn set_up(tw_trace: &Path, scenarios: &[&Scenario]) -> Result<Self> {
        let (tell, heard) = channel();
        let mut traffic = Player(spawn(&mut traffic_command(scenarios)?)?);
        let traffic_stdin = traffic.0.stdin.take().context("the traffic's standard input")?;
        let mut traffic_lines = lines(&mut traffic)?;
        let hello = in_time(&traffic, || next_json(&mut traffic_lines))?
            .context("the traffic did not start; it said why above")?
            .1;
        let netns = hello["netns"].as_u64().context("the traffic told no namespace")?;
        let pid = hello["pid"].as_u64().context("the traffic told no pid")?;
        let mut command = Command::new(tw_trace);
        command.args(["trace", "--json", "--duration", "170s", "--netns", &netns.to_string()]);
        let mut tracer = Player(spawn(command.stdin(Stdio::null()))?);
        let mut tracer_lines = lines(&mut tracer)?;
        let first = in_time(&tracer, || next_json(&mut tracer_lines))?;
        let Some((_, header)) = first else { return Err(not_started(tracer)) };
        forward(traffic_lines, tell.clone(), "the traffic", |_, value| Heard::Traffic(value));
        forward(tracer_lines, tell, "tw-trace", Heard::Trace);
        Ok(Self { netns, pid, header, heard, tracer, traffic_stdin, traffic, ending: None })
    }

    pub(super) fn start_traffic(&mut self) -> Result<()> {
        self.traffic_stdin.write_all(b"\n").context("the traffic does not listen")
    }

    /// As Ctrl-C does: the tracer writes its summary. Then the traffic's process may end.
    pub(super) fn stop_tracer(&mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.tracer.0.id())?);
        kill(pid, Signal::SIGINT).context("cannot stop tw-trace")?;
        self.ending = Some(Limit::on(self.tracer.0.id(), LIMIT));
        // The tracer still reads the namespace's counters; its process keeps it there until the tracer is done.
        for _ in 0..100 {
            if self.tracer.0.try_wait()?.is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        let _ = self.traffic.0.kill();
        Ok(())
    }

    pub(super) fn tracer_status(&mut self) -> Result<ExitStatus> {
        let status = self.tracer.0.wait().context("waiting for tw-trace")?;
        self.ending.take().map_or(Ok(()), Limit::over).context("tw-trace after Ctrl-C")?;
        Ok(status)
    }
}

/// What is read from this process; an error if it says nothing.
fn in_time<T>(player: &Player, read: impl FnOnce() -> Result<T>) -> Result<T> {
    let limit = Limit::on(player.0.id(), LIMIT);
    let read = read();
    limit.over()?;
    read
}

fn traffic_command(scenarios: &[&Scenario]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("the path of this xtask")?);
    command.args(["traffic", "scenario"]).args(scenarios.iter().map(|scenario| scenario.name));
    command.args(["--count", &COUNT.to_string(), "--new-netns", "--wait-for-stdin", "--hold", "600"]);
    command.stdin(Stdio::piped());
    Ok(command)
}

fn spawn(command: &mut Command) -> Result<Child> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {program}"))
}

/// The tracer ended before its first line.
fn not_started(mut tracer: Player) -> anyhow::Error {
    match tracer.0.wait().map(|status| status.code()) {
        Ok(Some(3)) => Unable(
            "tw-trace cannot trace on this kernel or with these privileges; it said above what is missing"
                .to_owned(),
        )
        .into(),
        Ok(code) => anyhow::anyhow!("tw-trace did not start (exit code {code:?}); it said why above"),
        Err(error) => error.into(),
    }
}

type Lines = BufReader<std::process::ChildStdout>;

fn lines(player: &mut Player) -> Result<Lines> {
    Ok(BufReader::new(player.0.stdout.take().context("a child without standard output")?))
}

fn next_json(lines: &mut impl BufRead) -> Result<Option<(String, Value)>> {
    let mut line = String::new();
    if lines.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let value = serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))?;
    Ok(Some((line.trim_end().to_owned(), value)))
}

/// Passes a child's lines on from a thread of its own, and says when there are no more.
fn forward<R: Read + Send + 'static>(
    mut lines: BufReader<R>,
    tell: Sender<Heard>,
    who: &'static str,
    wrap: fn(String, Value) -> Heard,
) {
    thread::spawn(move || -> Result<()> {
        while let Some((line, value)) = next_json(&mut lines)? {
            if tell.send(wrap(line, value)).is_err() {
                bail!("nobody listens");
            }
        }
        let _ = tell.send(Heard::Ended(who));
        Ok(())
    });
}

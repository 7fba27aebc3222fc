//! A tw-trace process that watches all scenarios: started, listened to, stopped as by Ctrl-C.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::wheel_view::Company;
use crate::backend::Backend;
use crate::stuck::{Limit, threads};

/// On an emulated CPU, loading and verifying takes its time.
const START: Duration = Duration::from_secs(120);
const END: Duration = Duration::from_secs(120);

pub(crate) struct Tracer {
    child: Child,
    lines: Receiver<String>,
    /// Those that were already looked at.
    taken: Vec<String>,
    header: Value,
}

/// Everything that it printed.
pub(crate) struct Trace {
    pub(crate) header: Value,
    lines: Vec<String>,
    pub(crate) summary: Value,
}

impl Tracer {
    /// All events. Without --netns: the namespaces of all scenarios at once.
    pub(super) fn trace(program: &Path, backend: Backend) -> Result<Self> {
        Self::start(program, &["trace", "--json", "--backend", backend.name()], may_be_ours)
    }

    /// The wheel view, at its end only.
    pub(super) fn wheel(program: &Path) -> Result<Self> {
        Self::start(program, &["wheel", "--json", "--interval", "1day"], may_be_ours)
    }

    /// All distributions, at the end; where nothing else happens, with every event that they are made of.
    pub(super) fn hist(program: &Path, backend: Backend, company: Company) -> Result<Self> {
        let args = ["hist", "--json", "--by", "process", "--backend", backend.name(), "--with-events"];
        let given = match company {
            Company::Alone => &args[..],
            Company::Others => &args[..args.len() - 1],
        };
        Self::start(program, given, |_| true)
    }

    fn start(program: &Path, args: &[&str], keep: fn(&str) -> bool) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(args);
        Self::attached(Self::spawn(command)?, keep)
    }

    /// Starts it; [`Tracer::attached`] has to follow.
    pub(crate) fn spawn(mut command: Command) -> Result<Child> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.spawn().with_context(|| format!("starting {}", command.get_program().display()))
    }

    /// Everything is attached when its first line, the header, has come; this returns then.
    pub(crate) fn attached(mut child: Child, keep: fn(&str) -> bool) -> Result<Self> {
        let stdout = BufReader::new(child.stdout.take().context("its standard output")?);
        let (tell, lines) = channel();
        thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            lines.filter(|line| keep(line)).try_for_each(|line| tell.send(line))
        });
        let Ok(first) = lines.recv_timeout(START) else {
            let threads = threads(child.id());
            let _ = child.kill();
            bail!("tw-trace told no header; it ended with {}\n{threads}", child.wait()?);
        };
        let header: Value = serde_json::from_str(&first).with_context(|| format!("not JSON: {first}"))?;
        Ok(Self { child, lines, taken: Vec::new(), header })
    }

    /// How many lines it has told after the header, of those that are kept.
    pub(crate) fn told_by_now(&mut self) -> usize {
        self.taken.extend(self.lines.try_iter());
        self.taken.len()
    }

    /// SIGINT, and all that it has told by its end.
    pub(crate) fn stop(mut self) -> Result<Trace> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGINT).context("stopping tw-trace")?;
        let limit = Limit::on(self.child.id(), END);
        let mut lines = std::mem::take(&mut self.taken);
        lines.extend(self.lines.iter());
        let status = self.child.wait()?;
        limit.over().context("tw-trace after Ctrl-C")?;
        let last = lines.pop().ok_or_else(|| anyhow!("tw-trace told nothing"))?;
        let summary: Value = serde_json::from_str(&last).with_context(|| format!("not JSON: {last}"))?;
        if !status.success() || summary["event"] != "summary" {
            bail!("tw-trace ended with {status}; its last line: {last}");
        }
        Ok(Trace { header: std::mem::take(&mut self.header), lines, summary })
    }
}

/// Every connection of a scenario has a port of these; what else a machine does may be more than memory holds.
const PORTS: std::ops::Range<u32> = 8_000..9_000;

/// Looks at the ports without taking the line apart. What has none is no event of a connection.
fn may_be_ours(line: &str) -> bool {
    let port = |key: &str| {
        let digits = line.split_once(key)?.1;
        let end = digits.find(|c: char| !c.is_ascii_digit())?;
        digits[..end].parse::<u32>().ok()
    };
    match (port("\"lport\":"), port("\"rport\":")) {
        (Some(local), Some(remote)) => PORTS.contains(&local) || PORTS.contains(&remote),
        _ => true,
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Trace {
    /// Between header and summary.
    pub(crate) fn events(&self) -> Result<Vec<Value>> {
        let parse = |line: &String| serde_json::from_str(line).with_context(|| format!("not JSON: {line}"));
        self.lines.iter().map(parse).collect()
    }

    pub(super) fn keep(&self, file: &Path) -> Result<()> {
        let mut text = self.lines.join("\n");
        text = format!("{}\n{text}\n{}\n", self.header, self.summary);
        fs::write(file, text).with_context(|| format!("writing {}", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ports_of_scenarios_are_kept() {
        assert!(may_be_ours(r#"{"event":"state","lport":8001,"raddr":"::1","rport":0}"#));
        assert!(may_be_ours(r#"{"event":"state","lport":40000,"raddr":"::1","rport":8046}"#));
        assert!(!may_be_ours(r#"{"event":"state","lport":40000,"raddr":"::1","rport":9001}"#));
        assert!(may_be_ours(r#"{"event":"summary","lost":0}"#));
        for scenario in crate::traffic::scenario::all() {
            assert!(PORTS.contains(&scenario.port.into()), "{}", scenario.name);
        }
    }
}

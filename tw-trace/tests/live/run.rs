//! A tw-trace process: started, watched line by line, stopped, and what it left.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use xtask::stuck::Limit;

use crate::harness::{START, tw_trace, unseen};
use crate::schema;

/// Longer than any TIME_WAIT at any HZ.
pub(crate) const LONG: Duration = Duration::from_secs(90);
pub(crate) const SHORT: Duration = Duration::from_secs(15);
/// From when its end is waited for: far longer than any run's end takes on a busy machine.
const END: Duration = Duration::from_mins(3);

pub(crate) struct Tracer {
    pub(crate) child: Child,
    lines: Receiver<String>,
    stderr: JoinHandle<String>,
    pub(crate) header: Value,
    pub(crate) events: Vec<Value>,
}

/// What a finished run left.
pub(crate) struct Run {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
    pub(crate) header: Value,
    pub(crate) events: Vec<Value>,
    pub(crate) summary: Value,
}

impl Tracer {
    /// `tw-trace trace --json` with these options; everything is attached when this returns.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::command(&[&["trace", "--json"], args].concat())
    }

    /// Any command that attaches and prints JSON lines, the header first.
    pub(crate) fn command(args: &[&str]) -> Self {
        let mut command = Command::new(tw_trace());
        command.args(args);
        Self::spawn(command)
    }

    /// The same, of a command that comes to run tw-trace.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("running tw-trace");
        let stdout = BufReader::new(child.stdout.take().expect("its standard output"));
        let mut stderr = child.stderr.take().expect("its standard error");
        let stderr = thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let (tell, lines) = channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let mut tracer = Self { child, lines, stderr, header: Value::Null, events: Vec::new() };
        match tracer.next(Instant::now() + START) {
            Some(header) if header["event"] == "header" => tracer.header = header,
            first => panic!("tw-trace began with {first:?}, and said: {}", tracer.finish().stderr),
        }
        tracer
    }

    /// Watches one namespace.
    pub(crate) fn of_netns(netns: u64, more: &[&str]) -> Self {
        Self::start(&[&["--netns", &netns.to_string()], more].concat())
    }

    fn next(&self, deadline: Instant) -> Option<Value> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Reads events until `done` of all of them, or the time has passed.
    pub(crate) fn read_until(&mut self, limit: Duration, mut done: impl FnMut(&[Value]) -> bool) {
        let deadline = Instant::now() + limit;
        while !done(&self.events) {
            match self.next(deadline) {
                Some(event) => self.events.push(event),
                None => return,
            }
        }
    }

    /// Until that many time-wait sockets have ended.
    pub(crate) fn read_exits(&mut self, count: usize, limit: Duration) {
        let mut seen = 0;
        let mut looked_at = 0;
        self.read_until(limit, |events| {
            seen += events[looked_at..].iter().filter(|event| event["event"] == "tw_exit").count();
            looked_at = events.len();
            seen >= count
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("signalling tw-trace");
    }

    /// Ctrl-C, and what it then leaves.
    pub(crate) fn interrupt(self) -> Run {
        self.signal(Signal::SIGINT);
        self.finish()
    }

    /// Waits for its end. One that does not come fails the test, with what the tracer was waiting for.
    pub(crate) fn finish(self) -> Run {
        self.finish_within(END)
    }

    pub(crate) fn finish_within(mut self, limit: Duration) -> Run {
        let limit = Limit::on(self.child.id(), limit);
        let mut events = std::mem::take(&mut self.events);
        let left = self.lines.iter();
        events.extend(
            left.map(|line| serde_json::from_str::<Value>(&line).unwrap_or_else(|e| panic!("{e}: {line}"))),
        );
        let status = self.child.wait().expect("waiting for tw-trace");
        limit.over().unwrap_or_else(|stuck| panic!("tw-trace: {stuck}"));
        let stderr = self.stderr.join().expect("reading its standard error");
        let summary = match events.last() {
            Some(last) if last["event"] == "summary" => events.pop().unwrap_or_default(),
            _ => Value::Null,
        };
        unseen(of_no_event(&summary));
        Run { status, stderr, header: self.header, events, summary }
    }
}

/// Sockets that a run lost because no event told of their end; the wheel view has no other losses.
fn of_no_event(summary: &Value) -> u64 {
    let lost_by = &summary["lost_by"];
    match lost_by.as_object() {
        Some(causes) if causes.is_empty() => summary["lost"].as_u64().unwrap_or(0),
        _ => lost_by["exit_missed"].as_u64().unwrap_or(0),
    }
}

impl Run {
    /// The events of this kind.
    pub(crate) fn of(&self, kind: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["event"] == kind).collect()
    }

    /// Exit code 0, nothing lost, balanced, and every line as the schema has it.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        assert!(self.status.success(), "{}: {}", self.status, self.stderr);
        assert_eq!(self.summary["lost"], 0, "{}", self.summary);
        assert_eq!(self.summary["balanced"], true, "{}", self.summary);
        let validator = schema::validator();
        for line in [&self.header, &self.summary].into_iter().chain(&self.events) {
            schema::check(&validator, &line.to_string());
        }
    }
}

/// A figure that must be there.
#[track_caller]
pub(crate) fn ns(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("not a number: {value}"))
}

/// The ends of the connection, as a key.
pub(crate) fn ends(event: &Value) -> String {
    format!("{}:{} {}:{}", event["laddr"], event["lport"], event["raddr"], event["rport"])
}

/// Whether the connection has this port at one end.
pub(crate) fn has_port(event: &Value, port: u16) -> bool {
    event["lport"] == port || event["rport"] == port
}

//! The traffic as a process of its own, in a namespace of its own, started when the tracer is ready.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use xtask::stuck::Limit;

use crate::harness::xtask;

/// For one piece of work, on a machine that does others too.
const LIMIT: Duration = Duration::from_mins(10);

pub(crate) struct Traffic {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    pub(crate) netns: u64,
    pub(crate) pid: u32,
}

impl Traffic {
    /// `args` as of `cargo xtask traffic`; it waits for [`Traffic::go`].
    pub(crate) fn ready(args: &[&str]) -> Self {
        let mut traffic = Self::start(args);
        traffic.netns = traffic.line()["netns"].as_u64().expect("the namespace's inode");
        traffic
    }

    /// `connections` to be made, and in TIME_WAIT already the sockets of `standing` others; none if the machine makes
    /// them slower than they end.
    pub(crate) fn standing(standing: u32, connections: u32) -> Option<Self> {
        let (standing, connections) = (standing.to_string(), connections.to_string());
        let mut traffic = Self::start(&["rate", "--standing", &standing, "--connections", &connections]);
        let told = traffic.line();
        if told["too_slow"] == true {
            return None;
        }
        traffic.netns = told["netns"].as_u64().expect("the namespace's inode");
        Some(traffic)
    }

    /// The scenario by a process that is the first of a pid namespace, which ends with it.
    pub(crate) fn in_pid_namespace(name: &str, count: u32) -> Self {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(xtask());
        let mut traffic = Self::spawn(unshare, &["scenario", "--count", &count.to_string(), name]);
        traffic.netns = traffic.line()["netns"].as_u64().expect("the namespace's inode");
        traffic
    }

    fn start(args: &[&str]) -> Self {
        Self::spawn(Command::new(xtask()), args)
    }

    /// `command` comes to run xtask.
    fn spawn(mut command: Command, args: &[&str]) -> Self {
        let mut child = command
            .arg("traffic")
            .args(args)
            .args(["--new-netns", "--wait-for-stdin", "--hold", "600"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("running xtask traffic");
        let stdin = child.stdin.take().expect("its standard input");
        let stdout = BufReader::new(child.stdout.take().expect("its standard output"));
        Self { stdin, stdout, netns: 0, pid: child.id(), child }
    }

    /// Scenarios of `xtask::traffic::scenario`, `count` times each.
    pub(crate) fn scenarios(names: &[&str], count: u32) -> Self {
        let count = count.to_string();
        Self::ready(&[&["scenario", "--count", &count], names].concat())
    }

    /// Connections at full rate, by this many pairs of a client and a server thread.
    pub(crate) fn rate(connections: u32, pairs: u32) -> Self {
        Self::ready(&["rate", "--connections", &connections.to_string(), "--pairs", &pairs.to_string()])
    }

    /// The same, of packets that are taken up in softirqs on all CPUs: these interrupt the processes there.
    pub(crate) fn steered(connections: u32) -> Self {
        Self::ready(&["rate", "--connections", &connections.to_string(), "--pairs", "2", "--steer"])
    }

    /// Connections at a rate that leaves the machine time for its clocks.
    pub(crate) fn paced(connections: u32, per_second: u32) -> Self {
        let (connections, per_second) = (connections.to_string(), per_second.to_string());
        Self::ready(&["rate", "--connections", &connections, "--pairs", "1", "--per-second", &per_second])
    }

    /// Starts it and waits until `reports` pieces of work are done.
    pub(crate) fn go(&mut self, reports: usize) -> Vec<Value> {
        self.begin();
        (0..reports).map(|_| self.line()).collect()
    }

    /// Starts it.
    pub(crate) fn begin(&mut self) {
        self.stdin.write_all(b"\n").expect("starting the traffic");
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        let limit = Limit::on(self.pid, LIMIT);
        self.stdout.read_line(&mut line).expect("reading from the traffic");
        limit.over().unwrap_or_else(|stuck| panic!("the traffic: {stuck}"));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("the traffic failed ({error}): {line:?}"))
    }
}

/// The process ends, and with it its namespace.
impl Drop for Traffic {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

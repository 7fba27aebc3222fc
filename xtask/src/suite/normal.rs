//! Events without what differs from run to run: what is left is the same on every kernel, and goes into goldens.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::demux::{named, namespaces};
use super::players::Player;
use crate::traffic::scenario::Begins;

/// Times, and what only names one run's objects.
const LEFT_OUT: &[&str] = &["ts", "mono_ns", "cookie"];
/// Told or not; how long is held against the model of the wheel, not against a golden.
const TIMES: &[&str] = &[
    "dwell_ns",
    "elapsed_ns",
    "duration_ns",
    "fin_wait2_ns",
    "since_arming_ns",
    "rounding_ns",
    "lateness_ns",
];
/// Of these, a zero means something.
const ZERO_COUNTS: &[&str] = &["duration_ns", "fin_wait2_ns"];
/// The order in which people read a line.
const FIRST: &[&str] =
    &["event", "laddr", "lport", "raddr", "rport", "old", "new", "reason", "cause", "substate", "entered"];

/// One event, normalised.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line(pub(super) Map<String, Value>);

impl Line {
    /// A key's value as goldens and rules write it: strings without quotes.
    pub(super) fn value(&self, key: &str) -> Option<String> {
        self.0.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    pub(super) fn text(&self) -> String {
        let first = FIRST.iter().filter_map(|key| Some((*key, self.0.get(*key)?)));
        let rest = self.0.iter().map(|(key, value)| (key.as_str(), value));
        let rest = rest.filter(|(key, _)| !FIRST.contains(key));
        let members: Vec<_> =
            first.chain(rest).map(|(key, value)| format!("{}:{value}", json!(key))).collect();
        format!("{{{}}}", members.join(","))
    }

    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(Self(serde_json::from_str(text)?))
    }

    /// The socket that it is about.
    fn socket(&self) -> [String; 5] {
        ["laddr", "lport", "raddr", "rport", "ifindex"].map(|key| self.value(key).unwrap_or_default())
    }
}

/// A scenario's events, in order of time, as a golden has them: by socket, each socket's in order of time.
pub(super) fn normalised(player: &Player, events: &[&Value]) -> Vec<Line> {
    let names = Names::of(player, events);
    let mut lines: Vec<Line> = events.iter().map(|event| names.line(event)).collect();
    give_children_their_ends(&mut lines);
    if player.scenario.begins == Begins::BeforeTracer {
        return by_kind(lines);
    }
    lines.sort_by_key(Line::socket);
    lines
}

/// Thousands of sockets: without their ports, the same line once, with how often it came.
fn by_kind(lines: Vec<Line>) -> Vec<Line> {
    let mut kinds: BTreeMap<String, (Line, u32)> = BTreeMap::new();
    for mut line in lines {
        for key in ["lport", "rport"] {
            if line.0.get(key).is_some_and(Value::is_string) {
                line.0.insert(key.to_owned(), json!("some port"));
            }
        }
        kinds.entry(line.text()).or_insert((line, 0)).1 += 1;
    }
    let counted = kinds.into_values().map(|(mut line, count)| {
        line.0.insert("count".to_owned(), json!(count));
        line
    });
    counted.collect()
}

/// A listener's child changes from LISTEN to SYN_RECV before `inet_csk_clone_lock` gives it its ends (until 6.12
/// at least; not any more in 6.18), which no backend can help. The next change in the same softirq has them.
fn give_children_their_ends(lines: &mut [Line]) {
    let mut taken = BTreeSet::new();
    for index in 0..lines.len() {
        let (before, after) = lines.split_at_mut(index + 1);
        let Some(child) = before.last_mut() else { continue };
        let is_born = child.value("old").as_deref() == Some("LISTEN")
            && child.value("new").as_deref() == Some("SYN_RECV")
            && child.value("rport").as_deref() == Some("0");
        // Where many wait (Fast Open), they go on in the order in which they came.
        let next = after.iter().zip(index + 1..).find(|(line, at)| {
            line.value("old").as_deref() == Some("SYN_RECV")
                && line.0.get("lport") == child.0.get("lport")
                && !taken.contains(at)
        });
        if let Some((next, at)) = next.filter(|_| is_born) {
            taken.insert(at);
            for key in ["laddr", "raddr", "rport"] {
                child.0.insert(key.to_owned(), next.0.get(key).cloned().unwrap_or_default());
            }
        }
    }
}

/// What this run's numbers are called in a golden.
struct Names {
    ports: BTreeMap<u64, String>,
    processes: BTreeMap<u64, String>,
    namespaces: BTreeMap<u64, String>,
    interfaces: BTreeMap<u64, String>,
    cgroups: BTreeMap<String, String>,
}

impl Names {
    fn of(player: &Player, events: &[&Value]) -> Self {
        let (mut ports, mut interfaces) = (BTreeMap::new(), BTreeMap::new());
        let known = [0, u64::from(player.scenario.port)];
        for event in events {
            for port in ["lport", "rport"].iter().filter_map(|key| event[*key].as_u64()) {
                if !known.contains(&port) {
                    let next = ports.len() + 1;
                    ports.entry(port).or_insert_with(|| format!("port{next}"));
                }
            }
            if let Some(index) = event["ifindex"].as_u64() {
                let next = interfaces.len() + 1;
                interfaces.entry(index).or_insert_with(|| format!("interface{next}"));
            }
        }
        let own = player.hello["pid"].as_u64().map(|pid| (pid, "player".to_owned()));
        let cgroup = player.hello["cgroup"].as_str().map(|path| (path.to_owned(), "own".to_owned()));
        let cgroups = player.played["cgroups"].as_array().map_or(&[][..], Vec::as_slice);
        let cgroups = cgroups
            .iter()
            .filter_map(|pair| Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned())));
        Self {
            ports,
            processes: own.into_iter().chain(named(&player.played["cast"])).collect(),
            interfaces,
            namespaces: namespaces(player).into_iter().collect(),
            cgroups: cgroup.into_iter().chain(cgroups).collect(),
        }
    }

    fn line(&self, event: &Value) -> Line {
        let mut line = Map::new();
        for (key, value) in event.as_object().into_iter().flatten() {
            if !LEFT_OUT.contains(&key.as_str()) {
                line.insert(key.clone(), self.normal(key, value));
            }
        }
        Line(line)
    }

    fn normal(&self, key: &str, value: &Value) -> Value {
        let number = value.as_u64();
        let called = |names: &BTreeMap<u64, String>| match number {
            Some(number) => names.get(&number).map_or_else(|| json!("someone else"), |name| json!(name)),
            None => Value::Null,
        };
        match (key, number) {
            ("lport" | "rport", Some(port)) => self.ports.get(&port).map_or(json!(port), |name| json!(name)),
            ("pid", _) => called(&self.processes),
            ("netns", _) => called(&self.namespaces),
            ("ifindex", _) => called(&self.interfaces),
            ("comm", _) => value.as_str().map_or(Value::Null, |comm| json!(self.comm(comm))),
            ("cgroup", _) => value
                .as_str()
                .map_or(Value::Null, |path| json!(self.cgroups.get(path).map_or("another", String::as_str))),
            ("wheel", _) if !value.is_null() => json!("told"),
            ("timeout_ns", Some(ns)) => json!(seconds(ns)),
            (key, Some(0)) if ZERO_COUNTS.contains(&key) => json!(0),
            (key, Some(_)) if TIMES.contains(&key) => json!("told"),
            _ => value.clone(),
        }
    }

    /// Threads that the kernel names after a process.
    fn comm(&self, comm: &str) -> String {
        let digits = comm.len() - comm.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (stem, number) = comm.split_at(comm.len() - digits);
        match number.parse().ok().and_then(|pid: u64| self.processes.get(&pid)) {
            Some(name) => format!("{stem}{name}"),
            None => comm.to_owned(),
        }
    }
}

/// To a tenth: a jiffy more or less depends on when in a tick the timer was armed.
fn seconds(ns: u64) -> String {
    let tenths = (ns + 50_000_000) / 100_000_000;
    format!("{}.{} s", tenths / 10, tenths % 10)
}

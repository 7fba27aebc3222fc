//! What the demo has heard so far, per scenario. Pure: lines in, figures out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::stage::Heard;
use crate::traffic::scenario::Scenario;

/// One scenario: what should come, and what came.
pub(super) struct Group {
    pub(super) scenario: &'static Scenario,
    pub(super) connections: u32,
    /// Time-wait sockets that should begin.
    pub(super) expected: u32,
    pub(super) entered: u32,
    /// By reason: how many, and the shortest and longest time in TIME_WAIT in ns.
    pub(super) exits: BTreeMap<String, Ends>,
    /// Process name and id of who closed, as the tracer tells it.
    pub(super) owners: BTreeSet<(String, u64)>,
}

#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) count: u32,
    pub(super) shortest: u64,
    pub(super) longest: u64,
}

pub(super) struct Tally {
    pub(super) groups: Vec<Group>,
    /// Scenarios that the traffic has finished.
    finished: usize,
    /// Time-wait sockets that the kernel's counters showed to the traffic.
    pub(super) counted: u64,
    pub(super) summary: Value,
    /// A raw line of each kind worth showing.
    pub(super) examples: BTreeMap<&'static str, String>,
    pub(super) timeouts_ns: BTreeSet<u64>,
    pub(super) granularities_ns: BTreeSet<u64>,
}

impl Tally {
    pub(super) fn new(scenarios: &[&'static Scenario], count: u32) -> Self {
        let groups = scenarios.iter().map(|&scenario| Group {
            scenario,
            connections: scenario.expect.connections * count,
            expected: scenario.expect.began * count,
            entered: 0,
            exits: BTreeMap::new(),
            owners: BTreeSet::new(),
        });
        Self {
            groups: groups.collect(),
            finished: 0,
            counted: 0,
            summary: Value::Null,
            examples: BTreeMap::new(),
            timeouts_ns: BTreeSet::new(),
            granularities_ns: BTreeSet::new(),
        }
    }

    pub(super) fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Traffic(value) => {
                self.finished += 1;
                let tcpext = &value["tcpext"];
                self.counted += number(&tcpext["TW"]) + number(&tcpext["TWKilled"]);
            }
            Heard::Trace(line, value) => self.trace(line, value),
            Heard::Ended(_) => {}
        }
    }

    fn trace(&mut self, line: String, value: Value) {
        match value["event"].as_str().unwrap_or_default() {
            "summary" => self.summary = value,
            "state" if value["new"] == "FIN_WAIT1" => self.keep("state", line),
            "tw_enter" => {
                if let Some(group) = self.group(&value) {
                    group.entered += 1;
                }
                self.keep("tw_enter", line);
            }
            "tw_exit" => self.exit(line, &value),
            _ => {}
        }
    }

    fn exit(&mut self, line: String, value: &Value) {
        let reason = value["reason"].as_str().unwrap_or_default().to_owned();
        let duration = number(&value["duration_ns"]);
        if reason == "expired" {
            self.timeouts_ns.insert(number(&value["timeout_ns"]));
            self.granularities_ns.insert(number(&value["wheel"]["granularity_ns"]));
            self.keep("tw_exit", line);
        }
        let Some(group) = self.group(value) else { return };
        let ends = group.exits.entry(reason).or_insert(Ends { count: 0, shortest: u64::MAX, longest: 0 });
        ends.count += 1;
        ends.shortest = ends.shortest.min(duration);
        ends.longest = ends.longest.max(duration);
        let comm = value["comm"].as_str().unwrap_or("unknown").to_owned();
        group.owners.insert((comm, number(&value["pid"])));
    }

    fn keep(&mut self, kind: &'static str, line: String) {
        self.examples.entry(kind).or_insert(line);
    }

    /// Each scenario has a port of its own, at one end or the other.
    fn group(&mut self, value: &Value) -> Option<&mut Group> {
        let ports = [number(&value["lport"]), number(&value["rport"])];
        self.groups.iter_mut().find(|group| ports.contains(&u64::from(group.scenario.port)))
    }

    /// All traffic done, every time-wait socket ended.
    pub(super) fn complete(&self) -> bool {
        self.finished == self.groups.len() && self.groups.iter().all(|group| group.exited() >= group.expected)
    }

    pub(super) fn living(&self) -> u32 {
        self.groups.iter().map(|group| group.entered.saturating_sub(group.exited())).sum()
    }

    pub(super) fn expired(&self) -> u32 {
        self.groups.iter().filter_map(|group| group.exits.get("expired")).map(|ends| ends.count).sum()
    }
}

impl Group {
    pub(super) fn exited(&self) -> u32 {
        self.exits.values().map(|ends| ends.count).sum()
    }
}

pub(super) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::traffic::scenario::find;

    #[test]
    fn events_go_to_their_scenario_by_port() {
        let mut tally = Tally::new(&[find("client_first").unwrap(), find("server_first").unwrap()], 1);
        let enter = json!({"event": "tw_enter", "lport": 20000, "rport": 8001});
        let exit = json!({"event": "tw_exit", "lport": 8002, "rport": 20000, "reason": "expired",
            "duration_ns": 5, "timeout_ns": 4, "pid": 7, "comm": "x", "wheel": {"granularity_ns": 2}});
        tally.hear(Heard::Trace(enter.to_string(), enter));
        assert_eq!((tally.living(), tally.expired(), tally.complete()), (1, 0, false));
        tally.hear(Heard::Trace(exit.to_string(), exit.clone()));
        assert_eq!((tally.groups[0].entered, tally.groups[1].exited()), (1, 1));
        assert_eq!(tally.granularities_ns, [2].into());
        let other = json!({"event": "tw_exit", "lport": 1, "rport": 8001, "reason": "expired"});
        tally.hear(Heard::Trace(other.to_string(), other));
        tally.hear(Heard::Traffic(json!({"tcpext": {"TW": 1, "TWKilled": 0}})));
        tally.hear(Heard::Traffic(json!({"tcpext": {"TW": 1, "TWKilled": 0}})));
        assert!(tally.complete());
        assert_eq!(tally.counted, 2);
    }
}

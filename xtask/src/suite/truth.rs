//! The events of a scenario held against the kernel's own figures, and against what the scenario was written to do.

use std::collections::BTreeMap;

use serde_json::Value;

use super::listing::ends;
use crate::traffic::capability::{Capabilities, Capability};
use crate::traffic::scenario::Scenario;

/// Up to this timeout the kernel counts a time-wait socket as TWKilled, above it as TW.
const KILLED_UP_TO_NS: u64 = 4_000_000_000;
/// The clock of jiffies at the arming and at the look at it.
const JIFFY_AT_MOST_NS: u64 = 10_000_000;

/// One time-wait socket from its beginning to its end, as the events tell it.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) ends: String,
    began_ns: u64,
    ended_ns: u64,
    /// Substates with the time when each began.
    substates: Vec<(u64, String)>,
    /// Timeouts of each arming that was told.
    timeouts_ns: Vec<u64>,
    /// When its timer's `expires` comes, after the last arming.
    pub(super) due_ns: Option<u64>,
    pub(super) reason: Option<String>,
    seeded: bool,
}

impl Life {
    pub(super) fn alive_at(&self, ns: u64) -> bool {
        self.began_ns <= ns && ns < self.ended_ns
    }

    /// None when the change may have been hidden.
    pub(super) fn substate_at(&self, ns: u64) -> Option<&str> {
        self.substates.iter().rev().find(|(since, _)| *since <= ns).map(|(_, substate)| substate.as_str())
    }

    fn reached_time_wait(&self) -> bool {
        self.substates.iter().any(|(_, substate)| substate == "TIME_WAIT")
    }
}

/// Puts the events of one network namespace, in order of time, together to lives.
pub(super) fn lives(events: &[&Value]) -> Vec<Life> {
    let (mut open, mut closed): (BTreeMap<String, Life>, Vec<Life>) = (BTreeMap::new(), Vec::new());
    for event in events {
        let text = |key: &str| event[key].as_str().unwrap_or_default();
        let number = |key: &str| event[key].as_u64().unwrap_or(0);
        let now = number("mono_ns");
        let key = ends(text("laddr"), number("lport"), text("raddr"), number("rport"), number("ifindex"));
        match text("event") {
            "tw_enter" => {
                let life = open.entry(key.clone()).or_insert_with(|| Life::new(key, now));
                life.substates.push((now, text("substate").to_owned()));
                life.arm(event, now);
            }
            "tw_rearm" => {
                let life = open.entry(key.clone()).or_insert_with(|| Life::new(key, 0));
                if life.substates.is_empty() && text("cause") == "fin" {
                    // There before the tracer: only this restart tells what it was.
                    life.substates.push((0, "FIN_WAIT2".to_owned()));
                }
                life.arm(event, now);
            }
            "tw_exit" => {
                let mut life = open.remove(&key).unwrap_or_else(|| Life::new(key, 0));
                life.end(event, now);
                closed.push(life);
            }
            _ => {}
        }
    }
    closed.extend(open.into_values());
    closed
}

impl Life {
    fn new(ends: String, began_ns: u64) -> Self {
        Self {
            ends,
            began_ns,
            ended_ns: u64::MAX,
            substates: Vec::new(),
            timeouts_ns: Vec::new(),
            due_ns: None,
            reason: None,
            seeded: false,
        }
    }

    fn arm(&mut self, event: &Value, now: u64) {
        if let Some(timeout) = event["timeout_ns"].as_u64() {
            self.timeouts_ns.push(timeout);
            self.due_ns = Some(now + timeout);
        }
    }

    fn end(&mut self, event: &Value, now: u64) {
        self.ended_ns = now;
        self.reason = event["reason"].as_str().map(str::to_owned);
        self.seeded = event["seeded"] == true;
        let substate = event["substate"].as_str().unwrap_or_default();
        if let Some(substate) = Some(substate).filter(|substate| self.substate_at(now) != Some(substate)) {
            // The change, or all before the tracer came, was not told: only known to be over by now.
            let since = now.saturating_sub(event["duration_ns"].as_u64().unwrap_or(0));
            self.substates.push((since, substate.to_owned()));
        }
        if let (Some(since), Some(timeout)) =
            (event["since_arming_ns"].as_u64(), event["timeout_ns"].as_u64())
        {
            self.due_ns = Some(now - since + timeout);
        }
    }
}

/// The kernel's counters of the scenario's own namespace; how kernels differ in them stands here and nowhere else.
pub(super) fn counter_problems(tcpext: &Value, lives: &[Life], capabilities: &Capabilities) -> Vec<String> {
    let counted = |name: &str| tcpext[name].as_u64().unwrap_or(u64::MAX);
    let count = |which: &dyn Fn(&&Life) -> bool| lives.iter().filter(which).count() as u64;
    let short = |timeout: Option<&u64>| timeout.is_some_and(|ns| *ns <= KILLED_UP_TO_NS + JIFFY_AT_MOST_NS);
    let [tw, killed] = if capabilities.has(Capability::CountedAtArming) {
        // From 6.1: once per socket, when it is first armed, by its first timeout.
        [false, true].map(|wanted| count(&|life| short(life.timeouts_ns.first()) == wanted))
    } else {
        // Before: when the timer fires, by its last timeout; early ends are not counted at all.
        [false, true].map(|wanted| {
            count(&|life| {
                life.reason.as_deref() == Some("expired") && short(life.timeouts_ns.last()) == wanted
            })
        })
    };
    let reused = count(&|life| life.reason.as_deref() == Some("reused"));
    [("TW", tw), ("TWKilled", killed), ("TWRecycled", reused)]
        .into_iter()
        .filter(|(name, told)| counted(name) != *told)
        .map(|(name, told)| format!("the kernel's {name} grew by {}, the events say {told}", counted(name)))
        .collect()
}

/// The time in a state runs from when it was entered until it is left; to set it again, as close() does after
/// shutdown(), is neither. Of sockets whose cookies are told.
pub(super) fn dwell_problems(events: &[&Value]) -> Vec<String> {
    let mut entered: BTreeMap<u64, (&Value, u64)> = BTreeMap::new();
    let mut problems = Vec::new();
    for change in events.iter().filter(|event| event["event"] == "state") {
        let (old, new) = (&change["old"], &change["new"]);
        let (Some(cookie), Some(now)) = (change["cookie"].as_u64(), change["mono_ns"].as_u64()) else {
            continue;
        };
        let since = entered.get(&cookie).filter(|(state, _)| *state == old).map(|(_, since)| now - since);
        let told = change["dwell_ns"].as_u64();
        if let (Some(since), Some(told)) = (since, told)
            && since != told
        {
            problems.push(format!("{old} was left for {new} after {since} ns, the event says {told}"));
        }
        if old != new {
            entered.insert(cookie, (new, now));
        }
    }
    problems
}

/// What the scenario was written to provoke.
pub(super) fn expectation_problems(scenario: &Scenario, lives: &[Life], tcpext: &Value) -> Vec<String> {
    let expect = &scenario.expect;
    let count = |which: &dyn Fn(&&Life) -> bool| lives.iter().filter(which).count();
    let in_fin_wait2 = |life: &&Life| life.substates.first().is_some_and(|(_, first)| first == "FIN_WAIT2");
    let mut checks = vec![
        ("time-wait sockets that began", lives.len(), expect.began),
        ("of them in FIN_WAIT2", count(&in_fin_wait2), expect.began_in_fin_wait2),
        ("of them that reached TIME_WAIT", count(&|life| life.reached_time_wait()), expect.time_wait),
    ];
    let early = expect.ended.map_or(0, |(each, reason)| if reason == "expired" { 0 } else { each });
    if let Some((each, reason)) = expect.ended.filter(|_| early > 0) {
        checks.push((reason, count(&|life| life.reason.as_deref() == Some(reason)), each));
    }
    let expired = count(&|life| life.reason.as_deref() == Some("expired"));
    checks.push(("expired", expired, expect.began - early));
    let mut problems: Vec<_> = checks
        .into_iter()
        .map(|(what, got, each)| (what, got as u64, u64::from(each * scenario.times)))
        .filter(|(_, got, wanted)| got != wanted)
        .map(|(what, got, wanted)| format!("{what}: {got}, not {wanted}"))
        .collect();
    if tcpext["TCPTimeWaitOverflow"] != u64::from(expect.overflow * scenario.times) {
        problems.push(format!("TCPTimeWaitOverflow: {}", tcpext["TCPTimeWaitOverflow"]));
    }
    problems
}

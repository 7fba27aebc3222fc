//! The wheel as JSON lines, as docs/wheel.schema.json has them.

use serde_json::{Map, Value, json};
use tw_trace_common::{counter::Counter, state::ExitReason, wheel::Burst};

use super::{
    audit::Verdict,
    frame::{Bursts, Jiffies, Level, State, Sums, Wheels},
    view::{Ending, Look},
};
use crate::{
    header::Header,
    sink::{fmt::Clock, json_buckets::distribution},
};

/// One interval.
pub fn interval(look: &Look<'_>, header: &Header, jiffies: Jiffies) -> Value {
    let wheels = look.wheels;
    let mut value = json!({
        "event": "wheel",
        "ts": realtime(header, look.now_ns),
        "mono_ns": look.now_ns,
        "interval_ns": look.interval_ns,
        "timers": wheels.timers,
        "overdue": wheels.overdue,
        "next_due_in_ns": wheels.next().map(|bucket| due_in(jiffies, bucket.due, look.now_ns)),
        "wheels": levels(wheels, jiffies, look.now_ns),
    });
    extend(&mut value, counts(look.since));
    value
}

/// The whole run.
pub fn summary(ending: &Ending<'_>, header: &Header, verdict: &Verdict) -> Value {
    let state = ending.state;
    let mut value = json!({
        "event": "summary",
        "ts": realtime(header, ending.to_ns),
        "mono_ns": ending.to_ns,
        "elapsed_ns": ending.to_ns - ending.from_ns,
        "seeded": state.sums.seeded,
        "live": ending.wheels.timers,
        "lost": verdict.lost,
        "lost_by": counters(&verdict.lost_by),
        "notes": counters(&verdict.notes),
        "longest_burst": ending.longest.map(|burst| one_burst(&burst, header)),
        "largest_burst": ending.largest.map(|burst| one_burst(&burst, header)),
        "balanced": verdict.balanced,
        "unbalanced": verdict.problems,
        "uncovered": ending.uncovered,
        "unaudited": verdict.unaudited,
    });
    extend(&mut value, counts(state));
    value
}

fn extend(value: &mut Value, more: Map<String, Value>) {
    if let Value::Object(object) = value {
        object.extend(more);
    }
}

/// What was counted, in an interval or in all.
fn counts(state: &State) -> Map<String, Value> {
    let Sums { entered, rearms, armed_away, fired_away, unknown, .. } = state.sums;
    let keys = [
        ("entered", json!(entered)),
        ("rearms", json!(rearms)),
        ("exited", exited(&state.sums)),
        ("bursts", bursts(&state.bursts)),
        ("overshoot_ns", distribution(&state.overshoot)),
        ("rounding_ns", distribution(&state.rounding)),
        ("lateness_ns", distribution(&state.lateness)),
        ("armed_elsewhere", json!(armed_away)),
        ("fired_elsewhere", json!(fired_away)),
        ("unknown", json!(unknown)),
    ];
    keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn exited(sums: &Sums) -> Value {
    ExitReason::ALL.iter().map(|reason| (reason.name().to_owned(), sums.exited[*reason as usize])).collect()
}

fn bursts(bursts: &Bursts) -> Value {
    json!({
        "number": bursts.sizes.count(),
        "timers": bursts.timers(),
        "sizes": distribution(&bursts.sizes),
        "time_ns": distribution(&bursts.times),
    })
}

fn levels(wheels: &Wheels, jiffies: Jiffies, now_ns: u64) -> Vec<Value> {
    wheels.levels.iter().map(|level| one_level(level, jiffies, now_ns)).collect()
}

fn one_level(level: &Level, jiffies: Jiffies, now_ns: u64) -> Value {
    let buckets: Vec<_> = level
        .buckets
        .iter()
        .map(|bucket| {
            json!({
                "slot": bucket.slot,
                "due": bucket.due,
                "due_in_ns": due_in(jiffies, bucket.due, now_ns),
                "timers": bucket.timers,
            })
        })
        .collect();
    json!({
        "cpu": level.cpu,
        "level": level.level,
        "granularity_ns": level.granularity_ns,
        "timers": level.timers(),
        "buckets": buckets,
    })
}

/// Negative for what should have fired already.
fn due_in(jiffies: Jiffies, due: u64, now_ns: u64) -> i64 {
    jiffies.ns(due).wrapping_sub(now_ns).cast_signed()
}

fn one_burst(burst: &Burst, header: &Header) -> Value {
    json!({
        "ts": realtime(header, burst.first_ns),
        "mono_ns": burst.first_ns,
        "cpu": burst.base,
        "due": burst.due,
        "timers": burst.timers,
        "time_ns": burst.lasted(),
    })
}

fn counters(counters: &[(Counter, u64)]) -> Value {
    counters.iter().map(|(counter, count)| (counter.name().to_owned(), *count)).collect()
}

fn realtime(header: &Header, mono_ns: u64) -> String {
    let mut text = Vec::new();
    Clock::new().push(&mut text, header.realtime_ns(mono_ns));
    String::from_utf8_lossy(&text).into_owned()
}

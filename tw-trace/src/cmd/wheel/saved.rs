//! A run saved with `--json`, drawn as it would have been without.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tw_trace_common::{counter::Counter, state::ExitReason, wheel::Burst};

use super::{
    audit::Verdict,
    frame::{Bursts, Jiffies, Level, State, Sums, Wheels},
    text,
    view::{Ending, Look},
};
use crate::{
    buckets::Buckets,
    exit::Usage,
    header::Header,
    kernel::{tick::Tick, wheel::Bucket},
    sink::{self, Style},
};

/// Draws the run in this file on standard output.
pub fn show(path: &Path, style: Style, summary: bool) -> Result<()> {
    let wrong = |why: String| Usage(format!("--from {}: {why}", path.display()));
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    let mut lines = BufReader::new(file);
    let (mut header, mut drawn, mut line) = (None, Vec::new(), String::new());
    for number in 1u64.. {
        line.clear();
        let at = |why: &str| wrong(format!("line {number}: {why}"));
        if lines.read_line(&mut line).map_err(|error| at(&error.to_string()))? == 0 {
            break;
        }
        match serde_json::from_str::<Value>(&line) {
            Ok(value) => {
                let text = draw(&value, &mut header, style, summary);
                drawn.extend(text.ok_or_else(|| at("this is no line of `tw-trace wheel --json`"))?);
            }
            // The last line of a run that was killed may be cut off.
            Err(_) if number > 1 && !line.ends_with('\n') => {}
            Err(error) => return Err(at(&format!("{error}; save a run with `tw-trace wheel --json`")).into()),
        }
    }
    if header.is_none() {
        return Err(wrong("it is empty; save a run with `tw-trace wheel --json`".to_owned()).into());
    }
    // All or nothing: what is wrong with a file is said before any of it is shown.
    let mut out = io::stdout().lock();
    out.write_all(&drawn).and_then(|()| out.flush()).context("writing to standard output")
}

/// The text of one line; None for one of another kind.
fn draw(value: &Value, header: &mut Option<Header>, style: Style, summary: bool) -> Option<Vec<u8>> {
    match (value["event"].as_str()?, header.as_ref()) {
        ("header", None) => {
            let read = read_header(value)?;
            let text = sink::text::header(&read, style);
            *header = Some(read);
            Some(text)
        }
        ("wheel", Some(header)) => {
            let (state, now_ns) = (state(value)?, value["mono_ns"].as_u64()?);
            let (wheels, jiffies) = wheels(value, header, now_ns)?;
            let look =
                Look { now_ns, interval_ns: value["interval_ns"].as_u64()?, wheels: &wheels, since: &state };
            Some(text::interval(&look, header.started_mono_ns, jiffies).into_bytes())
        }
        ("summary", Some(header)) if summary => {
            let state = state(value)?;
            let wheels = Wheels { timers: value["live"].as_u64()?, ..Wheels::default() };
            let ending = Ending {
                wheels: &wheels,
                state: &state,
                longest: burst(&value["longest_burst"]),
                largest: burst(&value["largest_burst"]),
                uncovered: strings(&value["uncovered"]),
                from_ns: header.started_mono_ns,
                to_ns: header.started_mono_ns.checked_add(value["elapsed_ns"].as_u64()?)?,
            };
            Some(text::summary(&ending, &verdict(value)?).into_bytes())
        }
        ("summary", Some(_)) => Some(Vec::new()),
        _ => None,
    }
}

fn read_header(value: &Value) -> Option<Header> {
    let text = |key: &str| value[key].as_str().map(plain);
    let started_mono_ns = value["mono_ns"].as_u64()?;
    let realtime = humantime::parse_rfc3339(value["ts"].as_str()?).ok()?;
    let realtime = realtime.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos();
    Some(Header {
        version: text("version")?,
        kernel: text("kernel")?,
        hz: u32::try_from(value["hz"].as_u64()?).ok()?,
        tick_ns: value["tick_ns"].as_u64()?,
        backend: text("backend")?,
        blind_spots: strings(&value["blind_spots"]),
        replaced: strings(&value["replaced"]),
        filters: strings(&value["filters"]),
        realtime_offset_ns: i64::try_from(realtime).ok()?.checked_sub_unsigned(started_mono_ns)?,
        started_mono_ns,
        ..Header::default()
    })
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(plain)).collect()
}

/// A file may hold anything, and this goes to a terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn state(value: &Value) -> Option<State> {
    let number = |key: &str| value[key].as_u64();
    let exited = ExitReason::ALL.iter().map(|reason| value["exited"][reason.name()].as_u64());
    let exited: Vec<u64> = exited.collect::<Option<_>>()?;
    let sums = Sums {
        seeded: number("seeded").unwrap_or(0),
        entered: number("entered")?,
        rearms: number("rearms")?,
        restarted: number("rearms")?,
        exited: exited.try_into().ok()?,
        armed_away: number("armed_elsewhere")?,
        fired_away: number("fired_elsewhere")?,
        unknown: number("unknown")?,
    };
    let bursts = &value["bursts"];
    Some(State {
        sums,
        bursts: Bursts { sizes: buckets(&bursts["sizes"])?, times: buckets(&bursts["time_ns"])? },
        rounding: buckets(&value["rounding_ns"])?,
        lateness: buckets(&value["lateness_ns"])?,
        overshoot: buckets(&value["overshoot_ns"])?,
    })
}

fn buckets(value: &Value) -> Option<Buckets> {
    if value.is_null() {
        return Some(Buckets::default());
    }
    let number = |key: &str| value[key].as_u64();
    let filled = value["buckets"].as_array()?.iter();
    let filled: Vec<_> =
        filled.map(|one| Some((one[0].as_u64()?, one[2].as_u64()?))).collect::<Option<_>>()?;
    Buckets::read(&filled, number("sum")?, (number("min")?, number("max")?))
}

/// The wheels, and the jiffies as their due times tell them.
fn wheels(value: &Value, header: &Header, now_ns: u64) -> Option<(Wheels, Jiffies)> {
    let tick = Tick::from_ns(header.tick_ns)?;
    let mut jiffies = Jiffies { tick, zero_ns: 0 };
    let mut wheels = Wheels {
        timers: value["timers"].as_u64()?,
        overdue: value["overdue"].as_u64()?,
        ..Wheels::default()
    };
    for one in value["wheels"].as_array()? {
        let cpu = u32::try_from(one["cpu"].as_u64()?).ok()?;
        let level = u8::try_from(one["level"].as_u64()?).ok()?;
        let mut buckets = Vec::new();
        for bucket in one["buckets"].as_array()? {
            let due = bucket["due"].as_u64()?;
            let due_ns = now_ns.wrapping_add_signed(bucket["due_in_ns"].as_i64()?);
            jiffies.zero_ns = due_ns.wrapping_sub(due.wrapping_mul(tick.ns));
            let slot = u8::try_from(bucket["slot"].as_u64()?).ok()?;
            buckets.push(Bucket { cpu, level, slot, due, timers: bucket["timers"].as_u64()? });
        }
        buckets.sort_by_key(|bucket: &Bucket| bucket.due);
        wheels.levels.push(Level { cpu, level, granularity_ns: one["granularity_ns"].as_u64()?, buckets });
    }
    Some((wheels, jiffies))
}

/// None where there was none.
fn burst(value: &Value) -> Option<Burst> {
    let number = |key: &str| value[key].as_u64();
    let first_ns = number("mono_ns")?;
    Some(Burst {
        due: number("due")?,
        timers: number("timers")?,
        first_ns,
        last_ns: first_ns.checked_add(number("time_ns")?)?,
        base: number("cpu")?,
    })
}

fn verdict(value: &Value) -> Option<Verdict> {
    let counters = |key: &str| -> Vec<(Counter, u64)> {
        let counted = |counter: &Counter| Some((*counter, value[key][counter.name()].as_u64()?));
        Counter::ALL.iter().filter_map(counted).collect()
    };
    Some(Verdict {
        balanced: value["balanced"].as_bool(),
        problems: strings(&value["unbalanced"]),
        unaudited: strings(&value["unaudited"]),
        lost: value["lost"].as_u64()?,
        lost_by: counters("lost_by"),
        notes: counters("notes"),
    })
}

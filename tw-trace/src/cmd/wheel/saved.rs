//! A run saved with `--json`, drawn as it would have been without.

use std::{
    io::{self, BufRead, Write as _},
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
    escape::plain,
    exit::Usage,
    header::Header,
    input::{Lines, count, time},
    kernel::{tick::Tick, wheel::Bucket},
    recorded::{self, no_header, no_json, second_run},
    sink::{self, Style},
};

/// What is drawn of a file at the most: it is kept until the whole file is known to be a run.
const MOST_DRAWN: usize = 256 << 20;
const HOW: &str = "save a run with `tw-trace wheel --json`";

/// Draws the run in this file on standard output.
pub fn show(path: &Path, style: Style, summary: bool) -> Result<()> {
    let wrong = |why: String| Usage(format!("--from {}: {why}", path.display()));
    let lines = Lines::of(path).map_err(|error| wrong(format!("{error}; {HOW}")))?;
    // All or nothing: what is wrong with a file is said before any of it is shown.
    let drawn = draw_all(lines, style, summary).map_err(wrong)?;
    let mut out = io::stdout().lock();
    out.write_all(&drawn).and_then(|()| out.flush()).context("writing to standard output")
}

/// The text of a whole run; the error says which line is wrong, and why.
pub fn draw_all<R: BufRead>(mut lines: Lines<R>, style: Style, summary: bool) -> Result<Vec<u8>, String> {
    let (mut header, mut drawn): (Option<Header>, _) = (None, Vec::new());
    while let Some(line) = lines.read().map_err(|why| format!("{why}; {HOW}"))? {
        let number = line.number;
        match serde_json::from_slice::<Value>(line.bytes) {
            Ok(value) if value["event"] == "header" && header.is_some() => return Err(second_run(number, 1)),
            Ok(value) if value["event"] == "header" => {
                recorded::tick(&value).map_err(|why| format!("line {number}: {why}"))?;
                let read = read_header(&value).ok_or_else(|| other(number))?;
                drawn.extend(sink::text::header(&read, style));
                header = Some(read);
            }
            Ok(value) => {
                let known = matches!(value["event"].as_str(), Some("wheel" | "summary"));
                let Some(header) = &header else {
                    return Err(if known { no_header(number) } else { other(number) });
                };
                let text = draw(&value, header, summary);
                drawn.extend(text.ok_or_else(|| other(number))?);
            }
            Err(_) if line.may_be_cut() => {}
            Err(error) => return Err(format!("{}; {HOW}", no_json(&line, &error))),
        }
        if drawn.len() > MOST_DRAWN {
            return Err(format!(
                "up to line {number} there are {} MiB to be drawn already; give a part of the run with its first line \
                 (`head -1`)",
                MOST_DRAWN >> 20
            ));
        }
    }
    if header.is_none() {
        return Err(format!("it is empty; {HOW}"));
    }
    Ok(drawn)
}

fn other(number: u64) -> String {
    format!("line {number}: this is no line of `tw-trace wheel --json`")
}

/// The text of one line after the header; None for one of another kind.
fn draw(value: &Value, header: &Header, summary: bool) -> Option<Vec<u8>> {
    match value["event"].as_str()? {
        "wheel" => {
            let (state, now_ns) = (state(value)?, time(&value["mono_ns"])?);
            let (wheels, jiffies) = wheels(value, header, now_ns)?;
            let look =
                Look { now_ns, interval_ns: time(&value["interval_ns"])?, wheels: &wheels, since: &state };
            Some(text::interval(&look, header.started_mono_ns, jiffies).into_bytes())
        }
        "summary" if summary => {
            let state = state(value)?;
            let wheels = Wheels { timers: count(&value["live"])?, ..Wheels::default() };
            let ending = Ending {
                wheels: &wheels,
                state: &state,
                longest: burst(&value["longest_burst"]),
                largest: burst(&value["largest_burst"]),
                uncovered: strings(&value["uncovered"]),
                from_ns: header.started_mono_ns,
                to_ns: header.started_mono_ns.checked_add(time(&value["elapsed_ns"])?)?,
            };
            Some(text::summary(&ending, &verdict(value)?).into_bytes())
        }
        "summary" => Some(Vec::new()),
        _ => None,
    }
}

fn read_header(value: &Value) -> Option<Header> {
    let text = |key: &str| value[key].as_str().map(plain);
    let started_mono_ns = time(&value["mono_ns"])?;
    let realtime = humantime::parse_rfc3339(value["ts"].as_str()?).ok()?;
    let realtime = realtime.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos();
    Some(Header {
        version: text("version")?,
        kernel: text("kernel")?,
        hz: u32::try_from(value["hz"].as_u64()?).ok()?,
        tick_ns: time(&value["tick_ns"])?,
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

fn state(value: &Value) -> Option<State> {
    let number = |key: &str| count(&value[key]);
    let exited = ExitReason::ALL.iter().map(|reason| count(&value["exited"][reason.name()]));
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
        filled.map(|one| Some((one[0].as_u64()?, count(&one[2])?))).collect::<Option<_>>()?;
    Buckets::read(&filled, number("sum")?, (number("min")?, number("max")?))
}

/// The wheels, and the jiffies as their due times tell them.
fn wheels(value: &Value, header: &Header, now_ns: u64) -> Option<(Wheels, Jiffies)> {
    let tick = Tick::from_ns(header.tick_ns)?;
    let mut zero_ns = None;
    let mut wheels =
        Wheels { timers: count(&value["timers"])?, overdue: count(&value["overdue"])?, ..Wheels::default() };
    for one in value["wheels"].as_array()? {
        let cpu = u32::try_from(one["cpu"].as_u64()?).ok()?;
        let level = u8::try_from(one["level"].as_u64()?).ok()?;
        let mut buckets = Vec::new();
        for bucket in one["buckets"].as_array()? {
            let due = time(&bucket["due"])?;
            let due_ns = now_ns.wrapping_add_signed(bucket["due_in_ns"].as_i64()?);
            let zero = due_ns.wrapping_sub(due.checked_mul(tick.ns)?);
            // All due times are of one clock.
            if *zero_ns.get_or_insert(zero) != zero {
                return None;
            }
            let slot = u8::try_from(bucket["slot"].as_u64()?).ok()?;
            buckets.push(Bucket { cpu, level, slot, due, timers: count(&bucket["timers"])? });
        }
        buckets.sort_by_key(|bucket: &Bucket| bucket.due);
        wheels.levels.push(Level { cpu, level, granularity_ns: time(&one["granularity_ns"])?, buckets });
    }
    Some((wheels, Jiffies { tick, zero_ns: zero_ns.unwrap_or(0) }))
}

/// None where there was none.
fn burst(value: &Value) -> Option<Burst> {
    let number = |key: &str| time(&value[key]);
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

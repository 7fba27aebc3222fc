//! The wheel drawn: a row of columns per CPU and level, one column a bucket, the next to fire first.

use std::fmt::{Result, Write as _};

use tw_trace_common::{state::ExitReason, wheel::Burst};

use super::{
    audit::Verdict,
    frame::{Bursts, Jiffies, Level, State, Sums},
    view::{Ending, Look},
};
use crate::{
    buckets::Buckets,
    sink::{
        fmt::{SECOND, duration, round},
        histogram::{bars, write_bars},
    },
};

/// Columns of a row: no level has more buckets.
const COLUMNS: u64 = 64;
const HEIGHTS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One interval.
pub fn interval(look: &Look<'_>, started_ns: u64, jiffies: Jiffies) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_interval(&mut text, look, started_ns, jiffies);
    text
}

/// The whole run.
pub fn summary(ending: &Ending<'_>, verdict: &Verdict) -> String {
    let mut text = String::new();
    let _ = write_summary(&mut text, ending, verdict);
    text
}

fn write_interval(text: &mut String, look: &Look<'_>, started_ns: u64, jiffies: Jiffies) -> Result {
    let (wheels, sums) = (look.wheels, &look.since.sums);
    let a_second = |count: u64| (count as f64 * SECOND as f64 / look.interval_ns.max(1) as f64).round();
    writeln!(
        text,
        "\n{:.1} s: {} timers on the wheel; {} armed and {} ended a second",
        look.now_ns.saturating_sub(started_ns) as f64 / SECOND as f64,
        wheels.timers,
        a_second(sums.entered),
        a_second(sums.ended()),
    )?;
    let highest = wheels.levels.iter().flat_map(|level| &level.buckets).map(|bucket| bucket.timers).max();
    for level in &wheels.levels {
        write_level(text, level, highest.unwrap_or(0), jiffies, look.now_ns)?;
    }
    write_ends(text, sums)?;
    write_bursts(text, &look.since.bursts)?;
    write_overshoot(text, look.since)
}

/// From now on to the last bucket that holds anything: a dot for each that does not.
fn write_level(text: &mut String, level: &Level, highest: u64, jiffies: Jiffies, now_ns: u64) -> Result {
    let due_in = |jiffy: u64| jiffies.ns(jiffy).wrapping_sub(now_ns).cast_signed().max(0);
    let seconds = |ns: i64| ns as f64 / SECOND as f64;
    let (Some(first), Some(last)) = (level.buckets.first(), level.buckets.last()) else { return Ok(()) };
    writeln!(
        text,
        "CPU {:<3} level {}, {} a bucket: {} timers in {}, the next {} in {:.1} s",
        level.cpu,
        level.level,
        round(level.granularity_ns),
        level.timers(),
        plural(level.buckets.len() as u64, "bucket"),
        first.timers,
        seconds(due_in(first.due)),
    )?;
    let column = |jiffy: u64| (due_in(jiffy).unsigned_abs() / level.granularity_ns.max(1)).min(COLUMNS - 1);
    let columns = level.buckets.iter().map(|bucket| column(bucket.due)).max().unwrap_or(0);
    let mut row = vec!['·'; columns as usize + 1];
    for bucket in &level.buckets {
        row[column(bucket.due) as usize] = HEIGHTS[height(bucket.timers, highest)];
    }
    let row: String = row.into_iter().collect();
    writeln!(text, "    now │{row}│ in {:.1} s", seconds(due_in(last.due)))
}

/// At least the lowest for what is there at all.
fn height(timers: u64, highest: u64) -> usize {
    (u128::from(timers) * 8).div_ceil(u128::from(highest.max(1))) as usize
}

fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn write_ends(text: &mut String, sums: &Sums) -> Result {
    let mut parts = vec![format!("{} fired", sums.fired())];
    for reason in ExitReason::ALL.iter().filter(|reason| **reason != ExitReason::Expired) {
        let count = sums.exited[*reason as usize];
        if count > 0 {
            parts.push(format!("{count} {}", reason.name()));
        }
    }
    if sums.rearms > 0 {
        parts.push(plural(sums.rearms, "re-arm"));
    }
    if sums.unknown > 0 {
        parts.push(format!("{} uncounted, of before the start", sums.unknown));
    }
    writeln!(text, "ended: {}", parts.join(", "))?;
    if sums.armed_away + sums.fired_away > 0 {
        writeln!(
            text,
            "armed on another CPU's wheel: {}; fired by another CPU than the wheel's: {}",
            sums.armed_away, sums.fired_away
        )?;
    }
    Ok(())
}

fn write_bursts(text: &mut String, bursts: &Bursts) -> Result {
    if bursts.sizes.count() == 0 {
        return Ok(());
    }
    let at = |buckets: &Buckets, per_mille| buckets.quantile(per_mille).unwrap_or(0);
    writeln!(
        text,
        "{}: half of them up to {}, the largest up to {}; first to last timer: half {}, the longest {}",
        plural(bursts.sizes.count(), "burst"),
        plural(at(&bursts.sizes, 500), "timer"),
        at(&bursts.sizes, 1_000),
        duration(at(&bursts.times, 500)),
        duration(at(&bursts.times, 1_000)),
    )
}

fn write_overshoot(text: &mut String, state: &State) -> Result {
    if state.overshoot.count() == 0 {
        return Ok(());
    }
    let spread = |buckets: &Buckets| {
        let at = |per_mille| duration(buckets.quantile(per_mille).unwrap_or(0));
        format!("half {}, 99% {}, at most {}", at(500), at(990), at(1_000))
    };
    writeln!(text, "later than asked for: {}", spread(&state.overshoot))?;
    writeln!(text, "  by the wheel's rounding: {}", spread(&state.rounding))?;
    writeln!(text, "  by the softirq:          {}", spread(&state.lateness))
}

fn write_summary(text: &mut String, ending: &Ending<'_>, verdict: &Verdict) -> Result {
    let state = ending.state;
    let sums = &state.sums;
    writeln!(text, "\n{} watched", duration(ending.to_ns.saturating_sub(ending.from_ns)))?;
    writeln!(
        text,
        "timers: {} seeded + {} entered = {} exited + {} live + {} lost",
        sums.seeded,
        sums.entered,
        sums.ended(),
        ending.wheels.timers,
        verdict.lost
    )?;
    write_ends(text, sums)?;
    write_bursts(text, &state.bursts)?;
    for (name, burst) in [("largest", ending.largest), ("longest", ending.longest)] {
        if let Some(burst) = burst {
            write_burst(text, name, &burst, ending.from_ns)?;
        }
    }
    write_overshoot(text, state)?;
    if state.overshoot.count() > 0 {
        writeln!(text, "\nhow much later than asked for timers fired:")?;
        write_bars(text, &bars(&state.overshoot.values()))?;
    }
    write_verdict(text, verdict, &ending.uncovered)
}

fn write_burst(text: &mut String, name: &str, burst: &Burst, from_ns: u64) -> Result {
    writeln!(
        text,
        "{name} burst: {} of CPU {} in {}, {:.1} s after the start",
        plural(burst.timers, "timer"),
        burst.base,
        duration(burst.lasted()),
        burst.first_ns.saturating_sub(from_ns) as f64 / SECOND as f64,
    )
}

fn write_verdict(text: &mut String, verdict: &Verdict, uncovered: &[String]) -> Result {
    writeln!(text)?;
    for (counter, count) in verdict.lost_by.iter().chain(&verdict.notes) {
        writeln!(text, "{}: {count} {}", counter.name(), counter.meaning())?;
    }
    for why in &verdict.unaudited {
        writeln!(text, "not compared: {why}")?;
    }
    match verdict.balanced {
        Some(true) if verdict.unaudited.is_empty() => {
            writeln!(text, "balanced: bursts, wheel and the kernel's own counters agree")
        }
        Some(true) => writeln!(text, "balanced: bursts and wheel agree; what was not compared stands above"),
        Some(false) => writeln!(text, "NOT BALANCED: {}", verdict.problems.join("; ")),
        None => writeln!(text, "balanced: cannot be claimed: {}", uncovered.join("; ")),
    }
}

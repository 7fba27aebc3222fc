//! The first lines of the text output, and the account of the run at its end.

use std::fmt::{Result, Write as _};
use std::time::{Duration, UNIX_EPOCH};

use tw_trace_common::state::ExitReason;

use super::fmt::{SECOND, comm_bytes, duration, push_comm, push_str, round};
use super::histogram::write_bars;
use super::style::{Colour, Style};
use crate::collector::{ExpiredGroup, Range, Spread};
use crate::header::Header;
use crate::summary::Summary;

pub(super) fn header(line: &mut Vec<u8>, header: &Header, style: Style) {
    push_str(line, style.on(Colour::Dim));
    push_str(line, &header_text(header));
    push_str(line, style.off());
}

fn header_text(header: &Header) -> String {
    let start = UNIX_EPOCH + Duration::from_nanos(header.realtime_ns(header.started_mono_ns));
    let mut text = format!(
        "tw-trace {} on Linux {}, HZ={}, backend {}, since {}\n",
        header.version,
        header.kernel,
        header.hz,
        header.backend,
        humantime::format_rfc3339_seconds(start)
    );
    if !header.filters.is_empty() {
        text += &format!("only {}\n", header.filters.join(" "));
    }
    for instead in &header.replaced {
        text += &format!("replaced: {instead}\n");
    }
    for blind_spot in &header.blind_spots {
        text += &format!("not seen: {blind_spot}\n");
    }
    text
}

/// The whole account.
pub fn summary(summary: &Summary, style: Style) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_summary(&mut text, summary, style);
    text
}

fn write_summary(text: &mut String, summary: &Summary, style: Style) -> Result {
    write_ledger(text, summary)?;
    write_lost(text, summary, style)?;
    write_exits(text, summary)?;
    write_expired(text, summary)?;
    write_durations(text, summary)?;
    write_owners(text, summary)?;
    write_verdict(text, summary, style)
}

fn write_ledger(text: &mut String, summary: &Summary) -> Result {
    let filtered = if summary.filtered { ", counting what the filters select" } else { "" };
    writeln!(text, "\nWatched for {}{filtered}.\n", round(summary.elapsed_ns))?;
    match summary.sockets {
        None => writeln!(text, "TIME_WAIT sockets were not watched: nothing is known of them.")?,
        Some(sockets) => writeln!(
            text,
            "TIME_WAIT sockets: {} there before + {} entered = {} ended + {} still there + {} lost",
            sockets.seeded, sockets.entered, sockets.exited, sockets.live, sockets.lost
        )?,
    }
    let counted = [
        (summary.overflow, "connections skipped TIME_WAIT: too many of them (tcp_max_tw_buckets)"),
        (summary.rearms, "times a clock was restarted"),
        (summary.states, "state changes of full sockets"),
    ];
    for (count, what) in counted {
        if let Some(count @ 1..) = count {
            writeln!(text, "{count} {what}")?;
        }
    }
    if summary.states.is_none() {
        writeln!(text, "State changes were not watched.")?;
    }
    if summary.overflow.is_none() && summary.sockets.is_some() {
        let why = if summary.filtered {
            "the kernel counts them for whole namespaces only"
        } else {
            "the kernel's counter could not be read"
        };
        writeln!(text, "How many connections skipped TIME_WAIT is not known: {why}.")?;
    }
    for (counter, count) in &summary.notes {
        writeln!(text, "{count} {}", counter.meaning())?;
    }
    Ok(())
}

fn write_lost(text: &mut String, summary: &Summary, style: Style) -> Result {
    if summary.lost == 0 {
        return Ok(());
    }
    writeln!(text, "\n{}LOST: {}{}", style.on(Colour::Bad), summary.lost, style.off())?;
    for (counter, count) in &summary.lost_by {
        writeln!(text, "  {count} {}", counter.meaning())?;
    }
    Ok(())
}

fn write_exits(text: &mut String, summary: &Summary) -> Result {
    let Some(exited) = summary.exited.filter(|exited| exited.iter().any(|count| *count > 0)) else {
        return Ok(());
    };
    writeln!(
        text,
        "\n{:12} {:>10} {:>13} {:>13} {:>13}",
        "ENDED BY", "SOCKETS", "SHORTEST", "MEDIAN", "LONGEST"
    )?;
    for &reason in ExitReason::ALL {
        let count = exited[reason as usize];
        if count == 0 {
            continue;
        }
        let times = summary.duration_by_reason[reason as usize];
        let time = |ns: fn(Spread) -> u64| times.map_or("-".to_owned(), |spread| duration(ns(spread)));
        writeln!(
            text,
            "{:12} {count:>10} {:>13} {:>13} {:>13}",
            reason.name(),
            time(|spread| spread.min_ns),
            time(|spread| spread.p50_ns),
            time(|spread| spread.max_ns)
        )?;
    }
    if summary.estimated > 0 {
        writeln!(
            text,
            "{} more whose start was not seen, only worked out, are left out of the times",
            summary.estimated
        )?;
    }
    if let Some(spread) = summary.fin_wait2 {
        writeln!(
            text,
            "{} of those whose start was seen were FIN_WAIT2 mini-sockets at first, for {} to {}",
            spread.count,
            duration(spread.min_ns),
            duration(spread.max_ns)
        )?;
    }
    Ok(())
}

/// The sentences that explain 62 s.
fn write_expired(text: &mut String, summary: &Summary) -> Result {
    for group in &summary.expired {
        write_expired_group(text, group, summary.tick_ns)?;
    }
    match summary.expired_otherwise {
        0 => Ok(()),
        count => writeln!(text, "expired otherwise: {count}, with other timers or timers that are not known"),
    }
}

fn write_expired_group(text: &mut String, group: &ExpiredGroup, tick_ns: u64) -> Result {
    let hz = (SECOND + tick_ns / 2).checked_div(tick_ns).unwrap_or(0);
    let article = if group.count == 1 { "1 socket" } else { &format!("{} sockets", group.count) };
    write!(
        text,
        "\nexpired: {}, because HZ={hz} rounds a {} timer up to the next {} slot of the timer wheel ({article}: \
         rounded up by {}",
        span(group.waited),
        round(group.timeout_ns()),
        round(group.granularity_ns),
        span(group.rounding)
    )?;
    if group.lateness.min <= group.lateness.max {
        write!(text, ", then {} late", span(group.lateness))?;
    }
    writeln!(text, ")")
}

fn span(range: Range) -> String {
    let (least, most) = (duration(range.min), duration(range.max));
    match (least.rsplit_once(' '), most.rsplit_once(' ')) {
        _ if least == most => least,
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number} – {most}"),
        _ => format!("{least} – {most}"),
    }
}

fn write_durations(text: &mut String, summary: &Summary) -> Result {
    let Some(spread) = summary.duration else { return Ok(()) };
    writeln!(
        text,
        "\nTime in TIME_WAIT of {} sockets: half of them up to {}, 90% {}, 99% {}, 99.9% {}",
        spread.count,
        duration(spread.p50_ns),
        duration(spread.p90_ns),
        duration(spread.p99_ns),
        duration(spread.p999_ns)
    )?;
    write_bars(text, &summary.bars)
}

fn write_owners(text: &mut String, summary: &Summary) -> Result {
    if summary.owners.named.is_empty() {
        return Ok(());
    }
    let mut owners: Vec<String> = summary
        .owners
        .named
        .iter()
        .map(|(comm, count)| {
            let mut name = Vec::new();
            match comm_bytes(comm) {
                [] => push_str(&mut name, "unknown"),
                _ => push_comm(&mut name, comm),
            }
            format!("{} {count}", String::from_utf8_lossy(&name))
        })
        .collect();
    if summary.owners.others > 0 {
        owners.push(format!("others {}", summary.owners.others));
    }
    writeln!(text, "\nWhose they were: {}", owners.join(", "))
}

fn write_verdict(text: &mut String, summary: &Summary, style: Style) -> Result {
    let deltas: Vec<_> = summary
        .kernel
        .iter()
        .filter(|(_, delta)| **delta != 0)
        .map(|(name, delta)| format!("{name} {delta:+}"))
        .collect();
    writeln!(text)?;
    if !deltas.is_empty() {
        writeln!(text, "The kernel's own counters meanwhile: {}", deltas.join(", "))?;
    }
    for what in &summary.unaudited {
        writeln!(text, "not checked: {what}")?;
    }
    if summary.balanced.is_none() {
        let why = summary.uncovered.join("\n                       ");
        let (on, off) = (style.on(Colour::Bad), style.off());
        return writeln!(text, "{on}balanced: not claimed – {why}{off}");
    }
    if summary.balanced == Some(true) {
        let checked = !summary.kernel.is_empty() && summary.unaudited.is_empty();
        let agree = if checked {
            " and agree with the kernel's own"
        } else {
            "; not all of it was held against the kernel's own"
        };
        return writeln!(
            text,
            "{}balanced: yes – all counts add up{agree}{}",
            style.on(Colour::Good),
            style.off()
        );
    }
    let why = summary.unbalanced.join("\n              ");
    writeln!(text, "{}balanced: NO – {why}{}", style.on(Colour::Bad), style.off())
}

//! The keys of the first and the last JSON line.

use tw_trace_common::counter::Counter;
use tw_trace_common::state::ExitReason;

use super::fmt::{push_json, push_str, push_u64};
use crate::header::Header;
use crate::summary::Summary;

/// The version of the JSON keys. Adding keys does not change it.
const SCHEMA: u64 = 1;

pub(super) fn header(line: &mut Vec<u8>, header: &Header) {
    number(line, "schema", SCHEMA);
    string(line, "version", &header.version);
    string(line, "kernel", &header.kernel);
    number(line, "hz", header.hz.into());
    number(line, "tick_ns", header.tick_ns);
    string(line, "backend", &header.backend);
    strings(line, "programs", &header.programs);
    strings(line, "blind_spots", &header.blind_spots);
    strings(line, "replaced", &header.replaced);
    strings(line, "filters", &header.filters);
    object(line, "sysctls", &header.sysctls, |line, (name, value)| {
        push_json(line, name.as_bytes());
        line.push(b':');
        push_json(line, value.as_bytes());
    });
}

pub(super) fn summary(line: &mut Vec<u8>, summary: &Summary) {
    number(line, "elapsed_ns", summary.elapsed_ns);
    known(line, "entered", summary.sockets.map(|sockets| sockets.entered));
    match summary.exited {
        None => known(line, "exited", None),
        Some(exited) => object(line, "exited", ExitReason::ALL, |line, &reason| {
            member(line, reason.name(), exited[reason as usize]);
        }),
    }
    known(line, "seeded", summary.sockets.map(|sockets| sockets.seeded));
    known(line, "live", summary.sockets.map(|sockets| sockets.live));
    number(line, "lost", summary.lost);
    counters(line, "lost_by", &summary.lost_by);
    counters(line, "notes", &summary.notes);
    known(line, "overflow", summary.overflow);
    known(line, "states", summary.states);
    known(line, "rearms", summary.rearms);
    number(line, "estimated", summary.estimated);
    ledgers(line, summary);
    object(line, "kernel", &summary.kernel, |line, (name, delta)| {
        push_json(line, name.as_bytes());
        line.push(b':');
        line.extend_from_slice(itoa::Buffer::new().format(*delta).as_bytes());
    });
    push_str(
        line,
        match summary.balanced {
            Some(true) => ",\"balanced\":true",
            Some(false) => ",\"balanced\":false",
            None => ",\"balanced\":null",
        },
    );
    strings(line, "unbalanced", &summary.unbalanced);
    strings(line, "uncovered", &summary.uncovered);
    strings(line, "unaudited", &summary.unaudited);
    durations(line, summary);
}

/// Both ledgers with all their terms.
fn ledgers(line: &mut Vec<u8>, summary: &Summary) {
    match &summary.sockets {
        None => known(line, "sockets", None),
        Some(sockets) => {
            let terms = [
                ("seeded", sockets.seeded),
                ("entered", sockets.entered),
                ("exited", sockets.exited),
                ("live", sockets.live),
                ("lost", sockets.lost),
            ];
            object(line, "sockets", terms, |line, (name, count)| member(line, name, count));
        }
    }
    object(line, "records", &summary.records, |line, records| {
        push_json(line, records.kind.name().as_bytes());
        line.push(b':');
        let terms = [("made", records.made), ("delivered", records.delivered), ("lost", records.lost)];
        braces(line, b"{}", terms, |line, (name, count)| member(line, name, count));
    });
}

fn durations(line: &mut Vec<u8>, summary: &Summary) {
    match summary.duration {
        None => push_str(line, ",\"duration_ns\":null"),
        Some(spread) => {
            let terms = [
                ("p50", spread.p50_ns),
                ("p90", spread.p90_ns),
                ("p99", spread.p99_ns),
                ("p999", spread.p999_ns),
                ("max", spread.max_ns),
                ("min", spread.min_ns),
            ];
            object(line, "duration_ns", terms, |line, (name, ns)| member(line, name, ns));
        }
    }
    push_str(line, ",\"histogram\":");
    braces(line, b"[]", &summary.bars, |line, bar| {
        line.push(b'[');
        push_u64(line, bar.high_ns);
        line.push(b',');
        push_u64(line, bar.count);
        line.push(b']');
    });
}

fn counters(line: &mut Vec<u8>, key: &str, counters: &[(Counter, u64)]) {
    object(line, key, counters, |line, &(counter, count)| member(line, counter.name(), count));
}

fn strings(line: &mut Vec<u8>, key: &str, strings: &[String]) {
    begin(line, key);
    braces(line, b"[]", strings, |line, string| push_json(line, string.as_bytes()));
}

fn string(line: &mut Vec<u8>, key: &str, string: &str) {
    begin(line, key);
    push_json(line, string.as_bytes());
}

fn number(line: &mut Vec<u8>, key: &str, number: u64) {
    begin(line, key);
    push_u64(line, number);
}

/// Null for what was not watched or could not be known.
fn known(line: &mut Vec<u8>, key: &str, number: Option<u64>) {
    begin(line, key);
    match number {
        Some(number) => push_u64(line, number),
        None => push_str(line, "null"),
    }
}

fn object<I: IntoIterator>(line: &mut Vec<u8>, key: &str, items: I, push: impl Fn(&mut Vec<u8>, I::Item)) {
    begin(line, key);
    braces(line, b"{}", items, push);
}

/// `,"key":`
fn begin(line: &mut Vec<u8>, key: &str) {
    line.push(b',');
    push_json(line, key.as_bytes());
    line.push(b':');
}

/// `"name":count`
fn member(line: &mut Vec<u8>, name: &str, count: u64) {
    push_json(line, name.as_bytes());
    line.push(b':');
    push_u64(line, count);
}

/// The items between these braces, with commas.
fn braces<I: IntoIterator>(
    line: &mut Vec<u8>,
    [open, close]: &[u8; 2],
    items: I,
    push: impl Fn(&mut Vec<u8>, I::Item),
) {
    line.push(*open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            line.push(b',');
        }
        push(line, item);
    }
    line.push(*close);
}

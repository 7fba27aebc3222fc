//! JSON: one object a line, keys as docs/events.schema.json has them, written by hand into a buffer.

use std::io;

use serde_json::Value;
use tw_trace_common::event::{
    Conn, Head, Kind, NONE_NS, Owner, State, TwEnter, TwExit, TwOverflow, TwRearm, Wheel, exit_flags,
};
use tw_trace_common::state::{Entered, ExitReason, RearmCause, Substate, TcpState};

use super::fmt::{self, Clock, push_str, push_u64};
use super::{CgroupNames, Lines, Lost, Sink, json_conn::ConnKeys, json_ends};
use crate::collector::expired_rounding_ns;
use crate::decode::{Record, name};
use crate::escape;
use crate::header::Header;
use crate::summary::Summary;
use crate::wheel::modern::granularity_ns;

/// The JSON sink. Give it the header first: times and timeouts are told in its terms.
pub struct Json<W, N> {
    lines: Lines<W>,
    cgroups: N,
    header: Header,
    clock: Clock,
    conn: ConnKeys,
}

/// The first line of every run's JSON.
pub fn header(header: &Header) -> Vec<u8> {
    let mut line = Vec::new();
    // Writing to a Vec does not fail.
    let _ = Json::new(&mut line, NoCgroups).header(header);
    line
}

/// A header names none.
struct NoCgroups;

impl CgroupNames for NoCgroups {
    fn path(&mut self, _: u64) -> Option<&str> {
        None
    }
}

impl<W: io::Write, N: CgroupNames> Json<W, N> {
    pub fn new(out: W, cgroups: N) -> Self {
        Self {
            lines: Lines::new(out),
            cgroups,
            header: Header::default(),
            clock: Clock::new(),
            conn: ConnKeys::default(),
        }
    }

    /// A line of an event that is no record, with what follows its time: keys and values of a JSON object.
    pub fn line(
        &mut self,
        event: &str,
        mono_ns: u64,
        keys: &serde_json::Map<String, Value>,
    ) -> io::Result<()> {
        self.begin(event, mono_ns);
        for (key, value) in keys {
            let line = &mut self.lines.buffer;
            line.push(b',');
            fmt::push_json(line, key.as_bytes());
            line.push(b':');
            line.extend_from_slice(&escape::json(value));
        }
        self.end()
    }

    /// `{"event":…,"ts":…,"mono_ns":…`
    fn begin(&mut self, event: &str, mono_ns: u64) {
        let line = &mut self.lines.buffer;
        push_str(line, "{\"event\":\"");
        push_str(line, event);
        push_str(line, "\",\"ts\":\"");
        self.clock.push(line, self.header.realtime_ns(mono_ns));
        push_str(line, "\",\"mono_ns\":");
        push_u64(line, mono_ns);
    }

    fn end(&mut self) -> io::Result<()> {
        push_str(&mut self.lines.buffer, "}\n");
        self.lines.line_done()
    }

    pub const fn cgroups(&mut self) -> &mut N {
        &mut self.cgroups
    }

    /// What every record has.
    fn common(&mut self, kind: Kind, head: &Head, conn: &Conn, owner: &Owner) {
        self.begin(kind.name(), head.mono_ns);
        self.conn.push(&mut self.lines.buffer, conn, owner, &mut self.cgroups);
    }

    fn wheel(&mut self, wheel: &Wheel, fired: Fired) {
        let line = &mut self.lines.buffer;
        if wheel.bucket == 0 {
            push_str(line, ",\"wheel\":null");
            return;
        }
        key(line, ",\"wheel\":{\"cpu\":", wheel.cpu.into());
        key(line, ",\"level\":", wheel.level.into());
        key(line, ",\"slot\":", wheel.slot.into());
        key(line, ",\"expires\":", wheel.expires);
        key(line, ",\"bucket\":", wheel.bucket);
        key(line, ",\"granularity_ns\":", granularity_ns(self.header.tick_ns, wheel.level));
        match fired {
            Fired::NotAnExit => {}
            Fired::Never => push_str(line, ",\"fired_cpu\":null"),
            Fired::On(cpu) => key(line, ",\"fired_cpu\":", cpu.into()),
        }
        line.push(b'}');
    }

    fn timeout(&mut self, jiffies: u64) {
        let line = &mut self.lines.buffer;
        push_str(line, ",\"timeout_ns\":");
        push_known(line, jiffies.saturating_mul(self.header.tick_ns), 0);
    }

    fn state(&mut self, r: &State) {
        self.common(Kind::State, &r.head, &r.conn, &r.owner);
        let line = &mut self.lines.buffer;
        named(line, ",\"old\":\"", name(r.old, TcpState::name));
        named(line, ",\"new\":\"", name(r.new, TcpState::name));
        ns_or_null(line, ",\"dwell_ns\":", r.dwell_ns);
    }

    fn enter(&mut self, r: &TwEnter) {
        self.common(Kind::TwEnter, &r.head, &r.conn, &r.owner);
        let line = &mut self.lines.buffer;
        named(line, ",\"substate\":\"", name(r.substate, Substate::name));
        named(line, ",\"entered\":\"", name(r.entered, Entered::name));
        self.timeout(r.timeout_jiffies);
        self.wheel(&r.wheel, Fired::NotAnExit);
    }

    fn rearm(&mut self, r: &TwRearm) {
        self.common(Kind::TwRearm, &r.head, &r.conn, &r.owner);
        let line = &mut self.lines.buffer;
        named(line, ",\"cause\":\"", name(r.cause, RearmCause::name));
        named(line, ",\"substate\":\"", name(r.substate, Substate::name));
        ns_or_null(line, ",\"elapsed_ns\":", r.elapsed_ns);
        self.timeout(r.timeout_jiffies);
        self.wheel(&r.wheel, Fired::NotAnExit);
    }

    fn exit(&mut self, r: &TwExit) {
        self.common(Kind::TwExit, &r.head, &r.conn, &r.owner);
        let expired = r.reason == ExitReason::Expired as u8;
        let line = &mut self.lines.buffer;
        named(line, ",\"reason\":\"", name(r.reason, ExitReason::name));
        named(line, ",\"substate\":\"", name(r.substate, Substate::name));
        named(line, ",\"entered\":\"", name(r.entered, Entered::name));
        ns_or_null(line, ",\"duration_ns\":", r.duration_ns);
        ns_or_null(line, ",\"fin_wait2_ns\":", r.fin_wait2_ns);
        ns_or_null(line, ",\"since_arming_ns\":", r.since_arming_ns);
        key(line, ",\"rearms\":", r.rearms.into());
        if r.flags & exit_flags::HIDDEN_REARM != 0 {
            push_str(line, ",\"rearm_hidden\":true");
        }
        let seeded = r.flags & exit_flags::SEEDED != 0;
        push_str(line, if seeded { ",\"seeded\":true" } else { ",\"seeded\":false" });
        if expired {
            self.timeout(r.timeout_jiffies);
            let line = &mut self.lines.buffer;
            let rounding = expired_rounding_ns(self.header.tick_ns, r);
            ns_or_null(line, ",\"rounding_ns\":", if r.wheel.bucket == 0 { NONE_NS } else { rounding });
            ns_or_null(line, ",\"lateness_ns\":", r.lateness_ns);
        }
        self.wheel(&r.wheel, if expired { Fired::On(r.head.cpu) } else { Fired::Never });
    }

    fn overflow(&mut self, r: &TwOverflow) {
        self.common(Kind::TwOverflow, &r.head, &r.conn, &r.owner);
        let line = &mut self.lines.buffer;
        push_str(line, ",\"limit\":");
        push_known(line, r.limit, NONE_NS);
    }
}

impl<W: io::Write, N: CgroupNames> Sink for Json<W, N> {
    fn header(&mut self, header: &Header) -> io::Result<()> {
        self.header = header.clone();
        self.begin("header", header.started_mono_ns);
        json_ends::header(&mut self.lines.buffer, header);
        self.end()?;
        self.lines.flush()
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::State(r) => self.state(r),
            Record::TwEnter(r) => self.enter(r),
            Record::TwRearm(r) => self.rearm(r),
            Record::TwExit(r) => self.exit(r),
            Record::TwOverflow(r) => self.overflow(r),
        }
        self.end()
    }

    fn lost(&mut self, lost: &Lost) -> io::Result<()> {
        self.begin("lost", lost.mono_ns);
        let line = &mut self.lines.buffer;
        key(line, ",\"count\":", lost.count);
        push_str(line, ",\"where\":");
        fmt::push_json(line, lost.place.as_bytes());
        self.end()
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.begin("summary", summary.mono_ns);
        json_ends::summary(&mut self.lines.buffer, summary);
        self.end()?;
        self.lines.flush()
    }

    fn cgroups_seen(&mut self, ids: &[u64]) {
        self.cgroups.seen(ids);
    }

    fn wall_clock(&mut self, realtime_offset_ns: i64) {
        self.header.realtime_offset_ns = realtime_offset_ns;
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lines.flush()
    }
}

/// Which CPU fired a timer.
#[derive(Clone, Copy)]
enum Fired {
    NotAnExit,
    /// It ended otherwise.
    Never,
    On(u32),
}

#[inline]
fn key(line: &mut Vec<u8>, key: &str, number: u64) {
    push_str(line, key);
    push_u64(line, number);
}

#[inline]
fn named(line: &mut Vec<u8>, key: &str, name: &str) {
    push_str(line, key);
    push_str(line, name);
    line.push(b'"');
}

#[inline]
fn ns_or_null(line: &mut Vec<u8>, key: &str, ns: u64) {
    push_str(line, key);
    push_known(line, ns, NONE_NS);
}

#[inline]
pub(super) fn push_known(line: &mut Vec<u8>, number: u64, unknown: u64) {
    if number == unknown { push_str(line, "null") } else { push_u64(line, number) }
}

#[cfg(test)]
mod tests;

//! Text for people: one aligned line per event.

use std::io;

use tw_trace_common::event::{
    Conn, Head, Kind, NONE_NS, Owner, State, TwEnter, TwExit, TwOverflow, TwRearm, Wheel, exit_flags,
};
use tw_trace_common::state::{Entered, ExitReason, RearmCause, Substate, TcpState};

use super::fmt::{self, push_round, push_seconds, push_short, push_str, push_u64};
use super::style::{Colour, Style};
use super::{Lines, Lost, Sink, text_conn::ConnColumns, text_summary};
use crate::collector::{expired_rounding_ns, rounding_ns};
use crate::decode::{Record, name};
use crate::header::Header;
use crate::summary::Summary;
use crate::wheel::modern::granularity_ns;

/// Together they leave room for an owner within 140 columns. What is longer takes from the columns to its right
/// what they have to spare.
const TIME_WIDTH: usize = 9;
const EVENT_WIDTH: usize = 8;
const CONN_WIDTH: usize = 38;
const DETAIL_WIDTH: usize = 64;

/// The text sink. Give it the header first: times are told from the start on.
pub struct Text<W> {
    lines: Lines<W>,
    style: Style,
    header: Header,
    conn: ConnColumns,
    /// Where WHAT began in the line, and its width.
    detail: (usize, usize),
}

/// What every run says about itself before it tells anything.
pub fn header(header: &Header, style: Style) -> Vec<u8> {
    let mut text = Vec::new();
    text_summary::header(&mut text, header, style);
    text
}

impl<W: io::Write> Text<W> {
    pub fn new(out: W, style: Style) -> Self {
        Self {
            lines: Lines::new(out),
            style,
            header: Header::default(),
            conn: ConnColumns::default(),
            detail: (0, 0),
        }
    }

    /// TIME, EVENT and CONNECTION.
    fn begin(&mut self, kind: Kind, head: &Head, conn: &Conn, owner: &Owner) {
        self.time(head.mono_ns);
        let style = self.style;
        let line = &mut self.lines.buffer;
        push_str(line, style.on(colour(kind)));
        let began = line.len();
        push_str(line, kind.name());
        let over = fmt::pad(line, began, EVENT_WIDTH);
        push_str(line, style.off());
        push_str(line, "  ");
        let over = self.conn.push(line, conn, owner, CONN_WIDTH.saturating_sub(over));
        push_str(line, "  ");
        self.detail = (line.len(), DETAIL_WIDTH.saturating_sub(over));
    }

    /// Seconds since the start, to the right.
    fn time(&mut self, mono_ns: u64) {
        let line = &mut self.lines.buffer;
        let ns = mono_ns.saturating_sub(self.header.started_mono_ns);
        let digits = (ns / fmt::SECOND).checked_ilog10().unwrap_or(0) as usize + 1;
        line.resize(line.len() + TIME_WIDTH.saturating_sub(digits + 4), b' ');
        push_seconds(line, ns);
        // Without the unit: the column says it.
        line.truncate(line.len() - " s".len());
        push_str(line, "  ");
    }

    /// OWNER and the line's end.
    fn end(&mut self) -> io::Result<()> {
        let line = &mut self.lines.buffer;
        let (began, width) = self.detail;
        fmt::pad(line, began, width);
        push_str(line, "  ");
        self.conn.push_owner(line);
        line.push(b'\n');
        self.lines.line_done()
    }

    fn state(&mut self, r: &State) -> io::Result<()> {
        self.begin(Kind::State, &r.head, &r.conn, &r.owner);
        let line = &mut self.lines.buffer;
        push_str(line, name(r.old, TcpState::name));
        push_str(line, " → ");
        push_str(line, name(r.new, TcpState::name));
        if r.dwell_ns != NONE_NS {
            push_str(line, " after ");
            fmt::push_duration(line, r.dwell_ns);
        }
        self.end()
    }

    fn enter(&mut self, r: &TwEnter) -> io::Result<()> {
        self.begin(Kind::TwEnter, &r.head, &r.conn, &r.owner);
        push_str(&mut self.lines.buffer, name(r.substate, Substate::name));
        self.timer(r.timeout_jiffies, &r.wheel);
        let line = &mut self.lines.buffer;
        if r.wheel.bucket != 0 {
            push_str(line, ", ");
            push_round(line, granularity_ns(self.header.tick_ns, r.wheel.level));
            push_str(line, " slots");
        }
        if r.entered == Entered::Estimated as u8 {
            push_str(line, ", estimated");
        }
        self.end()
    }

    fn rearm(&mut self, r: &TwRearm) -> io::Result<()> {
        self.begin(Kind::TwRearm, &r.head, &r.conn, &r.owner);
        let line = &mut self.lines.buffer;
        push_str(line, "by ");
        push_str(line, name(r.cause, RearmCause::name));
        if r.elapsed_ns != NONE_NS {
            push_str(line, " after ");
            fmt::push_duration(line, r.elapsed_ns);
        }
        if r.substate == Substate::FinWait2 as u8 {
            push_str(line, " in FIN_WAIT2");
        }
        self.timer(r.timeout_jiffies, &r.wheel);
        self.end()
    }

    /// ": 60 s timer due in 61.920 s, cpu 1"
    fn timer(&mut self, timeout_jiffies: u64, wheel: &Wheel) {
        let tick_ns = self.header.tick_ns;
        let timeout_ns = timeout_jiffies.saturating_mul(tick_ns);
        let line = &mut self.lines.buffer;
        push_str(line, ": ");
        push_round(line, timeout_ns);
        push_str(line, " timer");
        if wheel.bucket != 0 {
            push_str(line, " due in ");
            fmt::push_duration(line, timeout_ns.saturating_add(rounding_ns(tick_ns, wheel)));
            push_str(line, ", cpu ");
            push_u64(line, wheel.cpu.into());
        }
    }

    fn exit(&mut self, r: &TwExit) -> io::Result<()> {
        self.begin(Kind::TwExit, &r.head, &r.conn, &r.owner);
        let line = &mut self.lines.buffer;
        push_str(line, name(r.reason, ExitReason::name));
        let fin_wait2 = r.substate == Substate::FinWait2 as u8;
        if fin_wait2 {
            push_str(line, " in FIN_WAIT2");
        }
        let lived = if fin_wait2 { r.fin_wait2_ns } else { r.duration_ns };
        if lived == NONE_NS {
            push_str(line, ", start not seen");
        } else {
            push_str(line, if r.entered == Entered::Exact as u8 { " after " } else { " after about " });
            fmt::push_duration(line, lived);
        }
        if r.reason == ExitReason::Expired as u8 {
            self.parts(r);
        }
        self.exit_notes(r);
        self.end()
    }

    /// " (60 s timer + 1.920 s slot + 212 µs late)"
    fn parts(&mut self, r: &TwExit) {
        if r.timeout_jiffies == 0 || r.wheel.bucket == 0 {
            return;
        }
        let tick_ns = self.header.tick_ns;
        let line = &mut self.lines.buffer;
        push_str(line, " (");
        push_round(line, r.timeout_jiffies.saturating_mul(tick_ns));
        push_str(line, " timer + ");
        fmt::push_duration(line, expired_rounding_ns(tick_ns, r));
        push_str(line, " slot");
        if r.lateness_ns != NONE_NS {
            push_str(line, " + ");
            push_short(line, r.lateness_ns);
            push_str(line, " late");
        }
        push_str(line, ")");
    }

    /// What else there is to say about an end.
    fn exit_notes(&mut self, r: &TwExit) {
        let line = &mut self.lines.buffer;
        let hidden = r.flags & exit_flags::HIDDEN_REARM != 0;
        if r.rearms > 0 || hidden {
            push_str(line, if hidden { ", re-armed at least " } else { ", re-armed " });
            push_u64(line, r.rearms.max(1).into());
            push_str(line, "×");
        }
        let before =
            r.substate == Substate::TimeWait as u8 && r.fin_wait2_ns != 0 && r.fin_wait2_ns != NONE_NS;
        if before {
            push_str(line, ", after ");
            fmt::push_duration(line, r.fin_wait2_ns);
            push_str(line, " in FIN_WAIT2");
        }
        if r.flags & exit_flags::SEEDED != 0 {
            push_str(line, ", older than this run");
        }
    }

    fn overflow(&mut self, r: &TwOverflow) -> io::Result<()> {
        self.begin(Kind::TwOverflow, &r.head, &r.conn, &r.owner);
        let line = &mut self.lines.buffer;
        push_str(line, "TIME_WAIT skipped");
        if r.limit != NONE_NS {
            push_str(line, ": tcp_max_tw_buckets is ");
            push_u64(line, r.limit);
        }
        self.end()
    }
}

impl<W: io::Write> Sink for Text<W> {
    fn header(&mut self, header: &Header) -> io::Result<()> {
        self.header = header.clone();
        text_summary::header(&mut self.lines.buffer, header, self.style);
        push_str(&mut self.lines.buffer, self.style.on(Colour::Dim));
        let titles = format!(
            "{:>TIME_WIDTH$}  {:EVENT_WIDTH$}  {:CONN_WIDTH$}  {:DETAIL_WIDTH$}  OWNER",
            "SECONDS", "EVENT", "CONNECTION (local → remote)", "WHAT"
        );
        push_str(&mut self.lines.buffer, &titles);
        push_str(&mut self.lines.buffer, self.style.off());
        self.lines.buffer.push(b'\n');
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
    }

    fn lost(&mut self, lost: &Lost) -> io::Result<()> {
        self.time(lost.mono_ns);
        let style = self.style;
        let line = &mut self.lines.buffer;
        push_str(line, style.on(Colour::Bad));
        push_str(line, "LOST ");
        push_u64(line, lost.count);
        push_str(line, " records (");
        push_str(line, &lost.place);
        push_str(line, ")");
        push_str(line, style.off());
        line.push(b'\n');
        self.lines.line_done()
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        let text = text_summary::summary(summary, self.style);
        push_str(&mut self.lines.buffer, &text);
        self.lines.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lines.flush()
    }
}

const fn colour(kind: Kind) -> Colour {
    match kind {
        Kind::State => Colour::Dim,
        Kind::TwEnter => Colour::Good,
        Kind::TwRearm => Colour::Odd,
        Kind::TwExit => Colour::Note,
        Kind::TwOverflow => Colour::Bad,
    }
}

#[cfg(test)]
mod tests;

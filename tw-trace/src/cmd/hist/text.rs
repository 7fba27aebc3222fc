//! Distributions as a table, one line each, and the time in TIME_WAIT as bars.

use std::{fmt, fmt::Write as _, io};

use tw_trace_common::{histogram::Series, state::TcpState};

use super::{
    counted::{Block, Counted, Top},
    json::by_name,
    view::Format,
};
use crate::{
    buckets::Buckets,
    collector::Spread,
    decode::Record,
    header::Header,
    sink::{
        CgroupNames, Style, account,
        fmt::{SECOND, duration},
        histogram::write_bars,
        text,
    },
    summary::Summary,
};

pub(super) struct TextFormat<W, N> {
    out: W,
    style: Style,
    cgroups: N,
    started_ns: u64,
}

impl<W: io::Write, N: CgroupNames> TextFormat<W, N> {
    pub(super) const fn new(out: W, style: Style, cgroups: N) -> Self {
        Self { out, style, cgroups, started_ns: 0 }
    }

    fn tell(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.flush()
    }
}

impl<W: io::Write, N: CgroupNames> Format for TextFormat<W, N> {
    fn header(&mut self, header: &Header) -> io::Result<()> {
        self.started_ns = header.started_mono_ns;
        self.tell(&text::header(header, self.style))
    }

    fn block(&mut self, block: &Block) -> io::Result<()> {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = write_block(&mut text, block, self.started_ns, &mut self.cgroups);
        self.tell(text.as_bytes())
    }

    fn cgroups_seen(&mut self, ids: &[u64]) {
        self.cgroups.seen(ids);
    }

    /// Events are told as JSON alone (`--with-events` asks for `--json`).
    fn record(&mut self, _: &Record) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        // The bars stand in the blocks.
        let of_run = Summary { duration: None, bars: Vec::new(), ..summary.clone() };
        self.tell(account(&of_run, self.style).as_bytes())
    }
}

fn write_block(
    text: &mut String,
    block: &Block,
    started_ns: u64,
    cgroups: &mut dyn CgroupNames,
) -> fmt::Result {
    let seconds = |ns: u64| ns as f64 / SECOND as f64;
    let ago = seconds(block.mono_ns.saturating_sub(started_ns));
    writeln!(text, "\n{ago:.1} s: what came in {:.1} s", seconds(block.interval_ns))?;
    let counted = &block.counted;
    let time_wait = counted.time_wait();
    if counted.is_empty() {
        writeln!(text, "nothing to count")?;
    } else {
        write_distributions(text, counted)?;
    }
    match (time_wait.count(), block.living) {
        (0, 0) => {}
        (0, living) => {
            writeln!(text, "{living} sockets are in TIME_WAIT; their times are counted when they end")?;
        }
        (ended, _) => {
            writeln!(text, "\nTime in TIME_WAIT of {ended} sockets:")?;
            write_bars(text, &time_wait.bars())?;
        }
    }
    match &block.by {
        Some(top) if !counted.is_empty() => write_top(text, top, counted.no_room, cgroups),
        Some(_) | None => Ok(()),
    }
}

fn write_distributions(text: &mut String, counted: &Counted) -> fmt::Result {
    write_titles(text, "", ["MIN", "MAX"])?;
    for (of, buckets) in counted.filled() {
        write_row(text, &name(of), buckets)?;
    }
    match counted.undated {
        0 => Ok(()),
        count => {
            writeln!(text, "{count} more left TIME_WAIT, but when they had entered it is only worked out")
        }
    }
}

fn name(of: Series) -> String {
    match of {
        Series::TimeWait(reason) => format!("TIME_WAIT, {}", reason.name()),
        Series::FinWait2 => "FIN_WAIT2, without a full socket".to_owned(),
        Series::Lateness => "timers fired late by".to_owned(),
        Series::Dwell(TcpState::SynRecv) => "SYN_RECV, from the SYN-ACK".to_owned(),
        Series::Dwell(state) => state.name().to_owned(),
        // The wheel's.
        Series::Rounding | Series::Overshoot | Series::BurstTimers | Series::BurstTime => String::new(),
    }
}

fn write_top(text: &mut String, top: &Top, no_room: u64, cgroups: &mut dyn CgroupNames) -> fmt::Result {
    writeln!(text)?;
    let titles = format!("TIME_WAIT BY {}", by_name(top.by).replace('_', " ").to_uppercase());
    // Of a key only buckets are kept: their ends are bounds of what was measured.
    write_titles(text, &titles, ["FROM", "UP TO"])?;
    for (name, buckets) in &top.shown {
        write_row(text, &name.text(cgroups), buckets)?;
    }
    let (keys, count) = top.others;
    if keys > 0 {
        writeln!(text, "{count} under {keys} more keys (--top shows more)")?;
    }
    if no_room > 0 {
        writeln!(text, "{no_room} under no key: there was no room for more of them (--keys makes it)")?;
    }
    Ok(())
}

fn write_titles(text: &mut String, first: &str, [least, most]: [&str; 2]) -> fmt::Result {
    writeln!(
        text,
        "{first:34} {:>9} {least:>13} {:>13} {:>13} {:>13} {most:>13}",
        "COUNT", "50% UP TO", "90%", "99%"
    )
}

fn write_row(text: &mut String, name: &str, buckets: &Buckets) -> fmt::Result {
    let Some(Spread { count, min_ns, max_ns, p50_ns, p90_ns, p99_ns, .. }) = buckets.spread() else {
        return Ok(());
    };
    write!(text, "{name:34} {count:>9}")?;
    for ns in [min_ns, p50_ns, p90_ns, p99_ns, max_ns] {
        write!(text, " {:>13}", duration(ns))?;
    }
    writeln!(text)
}

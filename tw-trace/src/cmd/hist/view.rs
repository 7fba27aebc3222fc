//! From the kernel side's counts to blocks: one per interval, or one at the end, and an account of the run.

use std::{
    io::{self, IsTerminal as _},
    mem,
};

use anyhow::{Context as _, Result};
use tw_trace_common::{counter::Counter, histogram::Series, state::ExitReason};

use super::{
    asked::Asked,
    counted::{Block, Counted},
};
use crate::{
    audit::{Scope, audit},
    begin::Tell,
    buckets::Buckets,
    cli::ByArg,
    cmd::setup,
    collector::{Collector, KernelTotals, Watched},
    decode::Record,
    header::Header,
    kernel::load::Loaded,
    source::live::Live,
    stderr,
    summary::Summary,
    watch::{End, View},
};

/// Of records that are handed on between two looks at other duties.
const BATCHES: u32 = 16;

/// How blocks are told.
pub(super) trait Format {
    fn header(&mut self, header: &Header) -> io::Result<()>;
    fn block(&mut self, block: &Block) -> io::Result<()>;
    fn record(&mut self, record: &Record) -> io::Result<()>;
    fn summary(&mut self, summary: &Summary) -> io::Result<()>;

    /// Records that were held back.
    fn flush(&mut self) -> io::Result<()>;

    /// See [`Sink::wall_clock`](crate::sink::Sink::wall_clock).
    fn wall_clock(&mut self, _realtime_offset_ns: i64) {}

    /// See [`CgroupNames::seen`](crate::sink::CgroupNames::seen).
    fn cgroups_seen(&mut self, ids: &[u64]);
}

/// What is shown.
#[derive(Clone, Copy)]
pub(super) struct Show {
    pub(super) asked: Asked,
    /// Mask of the reasons that the filters let pass; zero for all.
    pub(super) reasons: u16,
    /// Blocks at most.
    pub(super) most: Option<u64>,
    pub(super) summary: Tell,
}

pub(super) struct HistView {
    format: Box<dyn Format>,
    show: Show,
    /// Records of the same values, for who asked for them.
    events: Option<Live>,
    collector: Collector,
    /// The counts at the last block, and when that was.
    last: (Counted, u64),
    blocks: u64,
    /// The last interval is over, and waits to be told.
    is_owed: bool,
    progress: Progress,
}

impl HistView {
    pub(super) fn new(
        format: Box<dyn Format>,
        show: Show,
        tick_ns: u64,
        events: Option<Live>,
        progress: Tell,
    ) -> Self {
        Self {
            format,
            show,
            events,
            collector: Collector::new(tick_ns),
            last: (Counted::default(), 0),
            blocks: 0,
            is_owed: false,
            progress: Progress::new(progress),
        }
    }

    fn tell_block(&mut self, loaded: &Loaded, counted: Counted, now_ns: u64) -> Result<()> {
        let since = counted.since(&self.last.0);
        let asked = self.show.asked;
        let by = asked.by.map(|by| since.top(by, asked.top));
        let interval_ns = now_ns.saturating_sub(self.last.1);
        self.last = (counted, now_ns);
        self.blocks += 1;
        let living = loaded.whole_ledger()?.living();
        tell(self.format.block(&Block { mono_ns: now_ns, interval_ns, counted: since, by, living }))
    }

    /// Hands on the records that there are, in some batches at the most; true if there are none left.
    fn drain_records(&mut self) -> Result<bool> {
        let Self { events, collector, format, .. } = self;
        let Some(events) = events else { return Ok(true) };
        let mut hand_on = |record: &Record| {
            collector.observe(record);
            tell(format.record(record))
        };
        // Records may come as fast as they are handed on, and there are other duties.
        let mut is_done = false;
        for _ in 0..BATCHES {
            is_done = events.drain(&mut hand_on)? == 0;
            if is_done {
                break;
            }
        }
        tell(format.flush())?;
        Ok(is_done)
    }

    fn summary(&self, loaded: &Loaded, end: &End) -> Result<Summary> {
        let asked = self.show.asked;
        let totals = KernelTotals {
            ledgers: loaded.ledgers()?,
            gone: loaded.gone_ledgers(),
            counters: end.counters,
            live: if asked.time_waits { loaded.live()? } else { 0 },
            filtered: end.scope != Scope::Whole,
            watched: Watched { states: asked.dwell, time_waits: asked.time_waits, overflows: false },
            uncovered: end.uncovered.clone(),
            from_mono_ns: end.from_ns,
            to_mono_ns: end.to_ns,
        };
        let audit = audit(&end.namespaces, &totals, end.counted_at, &end.scope);
        let mut summary = self.collector.finish(&totals, audit);
        let counted = &self.last.0;
        let time_wait = counted.time_wait();
        if let Some(problem) = uncounted(time_wait.count(), &totals, self.show.reasons) {
            summary.unbalanced.push(problem);
            summary.balanced = Some(false);
        }
        summary.duration = time_wait.spread();
        summary.bars = time_wait.bars();
        summary.estimated = totals.counter(Counter::Undated);
        summary.fin_wait2 = counted.of(Series::FinWait2).and_then(Buckets::spread);
        summary.duration_by_reason =
            std::array::from_fn(|reason| counted.of(Series::TimeWait(ExitReason::ALL[reason]))?.spread());
        // Those of the events alone.
        summary.expired = Vec::new();
        summary.expired_otherwise = 0;
        Ok(summary)
    }
}

/// Every end is in a distribution, or counted as not being in one.
fn uncounted(dated: u64, totals: &KernelTotals, reasons: u16) -> Option<String> {
    if !totals.watched.time_waits {
        return None;
    }
    let exited = totals.sum().exited;
    let asked_for = |reason: &&ExitReason| reasons == 0 || reasons & reason.bit() != 0;
    let ended: u64 = ExitReason::ALL.iter().filter(asked_for).map(|reason| exited[*reason as usize]).sum();
    let undated = totals.counter(Counter::Undated);
    let early = totals.counter(Counter::EndedInFinWait2);
    (dated + undated + early != ended).then(|| {
        format!(
            "distributions: {ended} sockets ended, but {dated} times in TIME_WAIT were counted + {undated} not known \
             + {early} ended in FIN_WAIT2 = {}",
            dated + undated + early
        )
    })
}

impl View for HistView {
    fn header(&mut self, header: &Header) -> Result<()> {
        self.last.1 = header.started_mono_ns;
        tell(self.format.header(header))
    }

    fn wall_clock(&mut self, realtime_offset_ns: i64) {
        self.format.wall_clock(realtime_offset_ns);
    }

    fn names_cgroups(&self) -> bool {
        self.events.is_some() || self.show.asked.by == Some(ByArg::Cgroup)
    }

    fn cgroups_seen(&mut self, ids: &[u64]) {
        self.format.cgroups_seen(ids);
    }

    fn drain(&mut self) -> Result<()> {
        self.drain_records().map(drop)
    }

    fn look(&mut self, loaded: &Loaded) -> Result<()> {
        self.drain()?;
        self.progress.tell(loaded, self.show.asked)
    }

    fn interval(&mut self, loaded: &Loaded, now_ns: u64) -> Result<()> {
        // The last one waits until everything is detached: then nothing is missing in it.
        self.is_owed = self.show.most.is_some_and(|most| self.blocks + 1 >= most);
        if self.is_owed {
            return Ok(());
        }
        self.tell_block(loaded, Counted::read(loaded, self.show.asked)?, now_ns)
    }

    fn finish(&mut self, loaded: &Loaded, end: &End) -> Result<()> {
        self.progress.clear();
        self.events.as_mut().map_or(Ok(()), Live::end)?;
        while !self.drain_records()? {}
        let counted = Counted::read(loaded, self.show.asked)?;
        if self.blocks == 0 || self.is_owed || !counted.since(&self.last.0).is_empty() {
            self.tell_block(loaded, counted, end.to_ns)?;
        }
        let summary = self.summary(loaded, end)?;
        if self.show.summary == Tell::Yes {
            tell(self.format.summary(&summary))?;
        }
        setup::warn(&summary);
        Ok(())
    }
}

fn tell(result: io::Result<()>) -> Result<()> {
    result.context("writing to standard output")
}

/// A line on the terminal of who waits for the end.
struct Progress {
    is_wanted: bool,
    is_shown: bool,
}

impl Progress {
    fn new(wanted: Tell) -> Self {
        Self { is_wanted: wanted == Tell::Yes && io::stderr().is_terminal(), is_shown: false }
    }

    fn tell(&mut self, loaded: &Loaded, asked: Asked) -> Result<()> {
        if !self.is_wanted {
            return Ok(());
        }
        self.is_shown = true;
        let counted = Counted::read(loaded, asked)?;
        let values: u64 = counted.filled().map(|(_, buckets)| buckets.count()).sum();
        stderr::progress(format_args!("\r{values} times counted; Ctrl-C shows them\x1b[K"));
        Ok(())
    }

    fn clear(&mut self) {
        if mem::take(&mut self.is_shown) {
            stderr::progress(format_args!("\r\x1b[K"));
        }
    }
}

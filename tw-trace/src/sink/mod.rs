//! Where a run's output goes: one trait, one file per format.

pub mod fmt;
pub mod histogram;
pub mod json;
pub mod json_buckets;
mod json_conn;
mod json_ends;
mod json_owner;
mod kept;
mod style;
pub mod text;
mod text_conn;
mod text_summary;

use std::io;

pub use style::Style;
pub use text_summary::summary as account;

use crate::decode::Record;
use crate::header::Header;
use crate::summary::Summary;

/// One output format. Lines may be held back until `flush`.
pub trait Sink {
    fn header(&mut self, header: &Header) -> io::Result<()>;
    fn record(&mut self, record: &Record) -> io::Result<()>;
    fn lost(&mut self, lost: &Lost) -> io::Result<()>;
    fn summary(&mut self, summary: &Summary) -> io::Result<()>;
    fn flush(&mut self) -> io::Result<()>;

    /// The wall clock was set, or the machine slept: this is now its distance from CLOCK_MONOTONIC, in nanoseconds.
    fn wall_clock(&mut self, _realtime_offset_ns: i64) {}

    /// See [`CgroupNames::seen`].
    fn cgroups_seen(&mut self, _ids: &[u64]) {}
}

/// Records that were lost since the last such note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub count: u64,
    /// The name of the counter, or of the place in user space.
    pub place: String,
    pub mono_ns: u64,
}

/// Paths of cgroups by their id.
pub trait CgroupNames {
    /// None when there is no such cgroup any more, or it cannot be seen from here.
    fn path(&mut self, id: u64) -> Option<&str>;

    /// These cgroups are there now; records that name them may come when they are gone. Called several times a second, also
    /// without any.
    fn seen(&mut self, _ids: &[u64]) {}
}

/// Held-back bytes from which on they are written.
const HELD_BACK: usize = 32 * 1024;

/// Lines on their way to a writer, written in large pieces.
struct Lines<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: io::Write> Lines<W> {
    fn new(out: W) -> Self {
        Self { out, buffer: Vec::with_capacity(HELD_BACK + 4096) }
    }

    /// After each line.
    fn line_done(&mut self) -> io::Result<()> {
        if self.buffer.len() < HELD_BACK { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> io::Result<()> {
        let written = self.out.write_all(&self.buffer);
        self.buffer.clear();
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write()?;
        self.out.flush()
    }
}

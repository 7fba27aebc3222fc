//! Log lines of the kernel side (feature `debug-log`), on stderr with `-v`.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

use super::load::Loaded;

/// The kernel side's log, to be emptied now and then.
pub struct DebugLog(EbpfLogger<Stderr>);

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // Nobody may be left to read it.
        crate::stderr::line(format_args!("kernel side: {}", record.args()));
    }

    fn flush(&self) {}
}

impl DebugLog {
    pub fn of(loaded: &mut Loaded) -> Result<Self> {
        let logger = EbpfLogger::init_with_logger(&mut loaded.ebpf, Stderr)
            .context("opening the kernel side's log")?;
        Ok(Self(logger))
    }

    /// Writes out what has come.
    pub fn flush(&mut self) {
        self.0.flush();
    }
}

//! One subject over one load: its readiness, its cost to the load and to itself, its memory, what it told.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::load::{Generator, Load, Offer};
use super::memory::Memory;
use super::process::{Process, seconds};
use super::programs::{self, Runs};
use super::told::Account;
use super::view::Subject;

/// What it came to.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) load: Load,
    /// User and kernel time of its process, in seconds per 100,000 connections, start and end included.
    pub(crate) user: f64,
    pub(crate) system: f64,
    /// CPU time of its process from when it was ready until it had caught up with the load.
    pub(crate) busy: Duration,
    /// From the start of the process until it was at work.
    pub(crate) ready: Duration,
    /// When it was ready, and after the load.
    pub(crate) memory: [Memory; 2],
    pub(crate) account: Option<Account>,
}

/// For what is still on its way when the load has ended; the same for all.
const CATCH_UP: Duration = Duration::from_millis(500);

/// Takes what the kernel counted of its programs too, where that is wanted.
pub(crate) fn measure(offer: &Offer, subject: &Subject, runs: Option<&mut Vec<Runs>>) -> Result<Measured> {
    let mut generator = Generator::start(offer)?;
    let mut output = tempfile::NamedTempFile::new().context("a temporary file")?;
    let mut errors = tempfile::tempfile().context("a temporary file")?;
    let mut process = Process::start(subject.command(&generator)?, output.as_file(), &errors)?;
    let measured = (|| {
        let ready = process.wait_until_ready(subject.sign, output.path())?;
        let pid = process.pid().context("it has ended")?;
        let at_start = Memory::of(pid)?;
        let busy = cpu_time(pid)?;
        // Some of them run many times to get ready.
        let before = runs.is_some().then(|| programs::runs(pid)).transpose()?.unwrap_or_default();
        let load = generator.go()?;
        sleep(CATCH_UP);
        let busy = cpu_time(pid)?.saturating_sub(busy);
        let memory = [at_start, Memory::of(pid)?];
        if let Some(runs) = runs {
            *runs = programs::since(programs::runs(pid)?, &before);
        }
        let usage = process.stop()?;
        let hundred_thousands = f64::from(offer.connections) / 100_000.0;
        let account = subject.told.read(output.as_file_mut(), offer.connections)?;
        Ok(Measured {
            load,
            user: seconds(usage.ru_utime) / hundred_thousands,
            system: seconds(usage.ru_stime) / hundred_thousands,
            busy,
            ready,
            memory,
            account,
        })
    })();
    measured.map_err(|why: anyhow::Error| {
        let mut said = String::new();
        let read = errors.seek(SeekFrom::Start(0)).and_then(|_| errors.read_to_string(&mut said));
        if read.is_ok() && !said.trim().is_empty() {
            why.context(format!("it said: {}", said.trim()))
        } else {
            why
        }
    })
}

/// Of all threads of a process, to the ns where they sleep.
fn cpu_time(pid: u32) -> Result<Duration> {
    let folder = format!("/proc/{pid}/task");
    let mut ns = 0;
    for thread in fs::read_dir(&folder).with_context(|| format!("reading {folder}"))? {
        // A thread that has just ended is no error, and what it used is lost: no tracer of ours ends any.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        ns += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).context("schedstat")?;
    }
    Ok(Duration::from_nanos(ns))
}

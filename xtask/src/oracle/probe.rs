//! The aya calls: the lab's programs on `calc_wheel_index`, what they send, and what they could not send.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::maps::{MapData, PerCpuArray, RingBuf};
use aya::programs::{FExit, KProbe, ProgramError};
use aya::{Btf, Ebpf, EbpfLoader};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use tw_trace_common::lab::{OracleCounter, Placed};

use super::tally::Counts;

const FUNCTION: &str = "calc_wheel_index";

/// Much more than a round of provocation makes.
const RING_BYTES: u32 = 4 << 20;

pub(super) struct Probe {
    /// Programs are attached as long as this lives.
    attached: Ebpf,
    ring: RingBuf<MapData>,
    counters: PerCpuArray<MapData, u64>,
    way: &'static str,
    /// Calls that were under way, or came, while one end was attached and the other was not.
    while_attaching: u64,
}

/// Why this kernel's function cannot be asked.
pub(super) struct Unable(pub(super) String);

impl Probe {
    /// Attaches one program for both ends of each call, or where that cannot be one for each end.
    pub(super) fn attach(object: &Path) -> Result<Result<Self, Unable>> {
        let symbols = fs::read_to_string("/proc/kallsyms").context("reading /proc/kallsyms")?;
        if !symbols.lines().any(|line| line.split(' ').nth(2) == Some(FUNCTION)) {
            return Ok(Err(Unable(format!("this kernel has no symbol {FUNCTION}: its compiler inlined it"))));
        }
        // Kernels before 5.11 charge maps to this limit; where it may not be raised, loading says so itself.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        let object = fs::read(object).with_context(|| format!("reading {}", object.display()))?;
        let mut loader = EbpfLoader::new();
        let mut ebpf = loader
            .map_max_entries("ORACLE_TIMERS", RING_BYTES)
            .load(&object)
            .context("loading the lab's object")?;
        let way = match attach_exit(&mut ebpf) {
            Ok(()) => "fexit",
            Err(no_exit) => match attach_probes(&mut ebpf) {
                Ok(()) => {
                    eprintln!("by kprobes, for fexit does not do: {}", reason(&no_exit));
                    "kprobe"
                }
                // What the verifier refuses is a fault of ours.
                Err(no_probe) if refused_by_verifier(&no_probe) => return Err(no_probe),
                Err(no_probe) => {
                    let (no_exit, no_probe) = (reason(&no_exit), reason(&no_probe));
                    let why =
                        format!("neither fexit ({no_exit}) nor kprobes ({no_probe}) see {FUNCTION} here");
                    return Ok(Err(Unable(why)));
                }
            },
        };
        let mut map =
            |name| ebpf.take_map(name).with_context(|| format!("the lab's object has no map {name}"));
        let ring = RingBuf::try_from(map("ORACLE_TIMERS")?)?;
        let counters = PerCpuArray::try_from(map("ORACLE_COUNTERS")?)?;
        let while_attaching = total(&counters, OracleCounter::Unpaired as u32)?;
        Ok(Ok(Self { attached: ebpf, ring, counters, way, while_attaching }))
    }

    pub(super) fn way(&self) -> &'static str {
        self.way
    }

    /// Hands over what has been sent so far.
    pub(super) fn drain(&mut self, on: impl FnMut(Placed)) -> Result<()> {
        drain(&mut self.ring, on)
    }

    /// Detaches, hands over the rest, and tells what was counted.
    pub(super) fn end(self, on: impl FnMut(Placed)) -> Result<Counts> {
        let Self { attached, mut ring, counters, way: _, while_attaching } = self;
        // As when they were attached: one end is taken off before the other.
        let unpaired = total(&counters, OracleCounter::Unpaired as u32)? - while_attaching;
        drop(attached);
        // A program that runs on another CPU right now has counted its timer, and not sent it yet.
        sleep(Duration::from_millis(10));
        drain(&mut ring, on)?;
        let mut counts = Counts::default();
        for (index, count) in (0..).zip(&mut counts.0) {
            *count = total(&counters, index)?;
        }
        counts.0[OracleCounter::Unpaired as usize] = unpaired;
        Ok(counts)
    }
}

fn drain(ring: &mut RingBuf<MapData>, mut on: impl FnMut(Placed)) -> Result<()> {
    while let Some(item) = ring.next() {
        on(Placed::decode(&item).context("the lab sent what is no timer")?);
    }
    Ok(())
}

/// Over all CPUs.
fn total(counters: &PerCpuArray<MapData, u64>, index: u32) -> Result<u64> {
    Ok(counters.get(&index, 0)?.iter().sum())
}

fn refused_by_verifier(error: &anyhow::Error) -> bool {
    let Some(ProgramError::LoadError { verifier_log, .. }) = error.downcast_ref() else { return false };
    !verifier_log.to_string().is_empty()
}

/// How lines of the verifier's log begin that are figures about its work.
const FIGURES: [&str; 3] = ["processed ", "stack depth ", "verification time "];

/// In one line: of the verifier's log, the last that says something.
fn reason(error: &anyhow::Error) -> String {
    let Some(ProgramError::LoadError { io_error, verifier_log }) = error.downcast_ref() else {
        return format!("{error:#}");
    };
    let log = verifier_log.to_string();
    let says = |line: &&str| !line.trim().is_empty() && !FIGURES.iter().any(|begin| line.starts_with(begin));
    let last = log.lines().rev().find(says);
    last.map_or_else(|| io_error.to_string(), |last| format!("{io_error}: {last}"))
}

fn attach_exit(ebpf: &mut Ebpf) -> Result<()> {
    let btf = Btf::from_sys_fs()?;
    let program: &mut FExit = program(ebpf, "fexit_calc_wheel_index")?.try_into()?;
    program.load(FUNCTION, &btf)?;
    program.attach()?;
    Ok(())
}

/// One end after the other: what comes in between is not held against anybody.
fn attach_probes(ebpf: &mut Ebpf) -> Result<()> {
    for name in ["kretprobe_calc_wheel_index", "kprobe_calc_wheel_index"] {
        let program: &mut KProbe = program(ebpf, name)?.try_into()?;
        program.load()?;
        program.attach(FUNCTION, 0)?;
    }
    Ok(())
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut aya::programs::Program> {
    ebpf.program_mut(name).with_context(|| format!("the lab's object has no program {name}"))
}

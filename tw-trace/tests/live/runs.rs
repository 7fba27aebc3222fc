//! The lines of a file, held against the kernel's own count of how often the programs ran that make them.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command},
    thread::sleep,
    time::Duration,
};

use aya::sys::{Stats, enable_stats};
use nix::{
    sys::signal::{Signal, kill},
    time::ClockId,
    unistd::Pid,
};
use serde_json::Value;
use tw_trace::kernel::clock::now_ns;
use xtask::fdinfo::{descriptors, field};

use crate::{
    harness::{attached, ended_within, live, loud, tw_trace},
    traffic::Traffic,
};

const CONNECTIONS: u32 = 300_000;
/// Steering makes connections slow.
const STEERED: u32 = 60_000;
/// Looks at the kernel's count, of which some are taken while nothing happens on this machine.
const LOOKS: usize = 50;
/// A run that began so long ago has been counted.
const COUNTED_NS: u64 = 2_000_000;
/// `BPF_PROG_TYPE_TRACING` (include/uapi/linux/bpf.h).
const TRACING: u64 = 26;

/// The whole machine is watched, since the kernel counts runs of the whole machine.
#[test]
fn each_run_of_the_program_is_a_line() {
    live("each_run_of_the_program_is_a_line", || {
        check(|| Traffic::rate(CONNECTIONS, 2), CONNECTIONS);
    });
}

/// The kernel does not run a program inside itself; the second program takes what the first was kept from, and each change
/// is told once.
#[test]
fn changes_that_interrupt_others_are_told() {
    live("changes_that_interrupt_others_are_told", || {
        let summary = check(|| Traffic::steered(STEERED), STEERED);
        assert!(summary["notes"]["nested"].as_u64() > Some(0), "nothing was interrupted: {summary}");
    });
}

/// Returns the summary.
fn check(make_traffic: impl Fn() -> Traffic, connections: u32) -> Value {
    let _loud = loud();
    let mut traffic = make_traffic();
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let _statistics =
        enable_stats(Stats::RunTime).expect("the kernel's statistics of programs (root, Linux 5.8)");
    let tracer = states_to(file.path());
    traffic.go(1);
    let looks: Vec<_> = (0..LOOKS).map(|_| Look::take(&tracer)).collect();
    kill(Pid::from_raw(tracer.id() as i32), Signal::SIGINT).expect("stopping tw-trace");
    assert!(ended_within(tracer, Duration::from_mins(2)).status.success());
    let lines = Lines::read(file.path());
    assert_eq!(lines.summary["lost"], 0, "{}", lines.summary);
    let still: Vec<_> = looks
        .iter()
        .filter(|look| lines.until(look.from_ns - COUNTED_NS) == lines.until(look.to_ns))
        .collect();
    assert!(
        !still.is_empty(),
        "connections were made on this machine all the time, at each of {LOOKS} looks"
    );
    for look in still {
        assert_eq!(look.events, [lines.until(look.to_ns); 2], "what came to each program, and lines");
        // Some kernels hide a few from the programs (`harness::live`).
        assert!(look.events[0] >= 99 * u64::from(connections) / 10, "{:?}", look.events);
    }
    lines.summary
}

/// The trace events: other backends have more than one program that sees a change.
fn states_to(path: &Path) -> Child {
    let arguments = ["trace", "--json", "--events", "state", "--backend", "tracepoint"];
    attached(Command::new(tw_trace()).args(arguments), path)
}

/// What the kernel had counted at some moment between two.
struct Look {
    from_ns: u64,
    events: [u64; 2],
    to_ns: u64,
}

impl Look {
    fn take(tracer: &Child) -> Self {
        sleep(Duration::from_millis(5));
        let from_ns = monotonic();
        let events = events(tracer);
        Self { from_ns, events, to_ns: monotonic() }
    }
}

fn monotonic() -> u64 {
    now_ns(ClockId::CLOCK_MONOTONIC).expect("the clock")
}

/// How often the kernel ran each of the two tracing programs that the process has open, or was kept from it because that
/// program was active (`bpf_prog_show_fdinfo`).
fn events(process: &Child) -> [u64; 2] {
    let programs: Vec<_> = descriptors(process.id())
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .filter(|info| field(info, "prog_type") == Some(TRACING))
        .collect();
    let [first, second] = &programs[..] else { panic!("two tracing programs, not {}", programs.len()) };
    let figure = |program, name| field(program, name).unwrap_or_else(|| panic!("no {name} in {program}"));
    [first, second].map(|program| figure(program, "run_cnt") + figure(program, "recursion_misses"))
}

/// When each line's change was made, in order, and the summary.
struct Lines {
    made_ns: Vec<u64>,
    summary: Value,
}

impl Lines {
    fn read(path: &Path) -> Self {
        let mut read = Self { made_ns: Vec::new(), summary: Value::Null };
        for line in BufReader::new(File::open(path).expect("opening the file")).lines() {
            let line = line.expect("reading the file");
            if line.starts_with(r#"{"event":"state""#) {
                let (_, behind) = line.split_once(r#""mono_ns":"#).expect("a time");
                let (ns, _) = behind.split_once(',').expect("more behind it");
                read.made_ns.push(ns.parse().expect("nanoseconds"));
            } else if line.starts_with(r#"{"event":"summary""#) {
                read.summary = serde_json::from_str(&line).expect("the summary");
            }
        }
        // The rings of all CPUs are merged in the order of time; nearly sorted is sorted soon.
        read.made_ns.sort_unstable();
        read
    }

    fn until(&self, ns: u64) -> u64 {
        self.made_ns.partition_point(|made| *made <= ns) as u64
    }
}

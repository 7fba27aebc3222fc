//! Whoever hands records on may be late, for want of a reader or of a CPU: the ring buffers are emptied all the same.

use std::io::{BufRead as _, BufReader, copy};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::harness::{in_time, live, loud, tw_trace, unseen};
use crate::rate::{CHANGES, LISTENER, count, stop, to_file};
use crate::traffic::Traffic;

/// Their records take three times what the ring buffers hold, and half of what may wait behind them.
const CONNECTIONS: u32 = 70_000;
const PAIRS: u32 = 2;

/// As a pager does, or a machine at the other end of a slow line.
#[test]
fn a_reader_that_pauses_costs_no_record() {
    live("a_reader_that_pauses_costs_no_record", || {
        let _loud = loud();
        let mut traffic = Traffic::rate(CONNECTIONS, PAIRS);
        let mut tracer = Command::new(tw_trace())
            .args(["trace", "--json", "--netns", &traffic.netns.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("running tw-trace");
        let mut lines = BufReader::new(tracer.stdout.take().expect("its output"));
        let mut header = String::new();
        in_time(tracer.id(), || lines.read_line(&mut header).expect("the header"));
        traffic.go(1);
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        let path = file.path().to_owned();
        thread::scope(|scope| {
            scope.spawn(|| copy(&mut lines, file.as_file_mut()).expect("reading on"));
            stop(tracer);
        });
        nothing_is_missing(&path);
    });
}

/// Others keep all CPUs busy, and the connections are made before all of them.
#[test]
fn a_busy_machine_costs_no_record() {
    live("a_busy_machine_costs_no_record", || {
        let _loud = loud();
        let mut traffic = Traffic::rate(CONNECTIONS, PAIRS);
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let tracer = to_file(traffic.netns, file.path(), &[]);
        let cpus = thread::available_parallelism().expect("the number of CPUs").get();
        let busy: Vec<_> = (0..2 * cpus).map(|_| Busy::at(-5)).collect();
        renice(traffic.pid, -10);
        traffic.go(1);
        drop(busy);
        stop(tracer);
        nothing_is_missing(file.path());
    });
}

fn nothing_is_missing(path: &std::path::Path) {
    let counts = count(path);
    let summary = &counts.summary;
    assert_eq!(summary["lost"], 0, "{summary}");
    assert_eq!(summary["balanced"], true, "{summary}");
    let (made, changes) =
        (u64::from(CONNECTIONS), CHANGES * u64::from(CONNECTIONS) + LISTENER * u64::from(PAIRS));
    unseen(changes.saturating_sub(counts.state) + made.saturating_sub(counts.enter));
    assert_eq!((counts.state, counts.enter), (changes, made), "{summary}");
}

/// A process that keeps a CPU busy until it is dropped.
struct Busy(Child);

impl Busy {
    fn at(nice: i32) -> Self {
        let child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("a busy process");
        renice(child.id(), nice);
        Self(child)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn renice(pid: u32, nice: i32) {
    // SAFETY: takes numbers only.
    let status = unsafe { libc::setpriority(libc::PRIO_PROCESS, pid, nice) };
    assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
}

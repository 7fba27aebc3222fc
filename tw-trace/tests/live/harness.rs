//! What the live tests share: where the binaries are, whether this machine can run them, who may be loud.

use std::cell::Cell;
use std::env;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

use xtask::stuck::{Limit, threads};

use crate::skip::skip;

/// Full-rate traffic makes timers late; tests that measure durations do not run beside it.
static QUIET: RwLock<()> = RwLock::new(());

/// For tests with little traffic. They run side by side.
pub(crate) fn quiet() -> RwLockReadGuard<'static, ()> {
    QUIET.read().unwrap_or_else(PoisonError::into_inner)
}

/// For a test that keeps all cores busy. It runs alone, behind those that have begun: one that waits for the
/// lock holds all later ones up.
pub(crate) fn loud() -> RwLockWriteGuard<'static, ()> {
    sleep(Duration::from_secs(5));
    let alone = QUIET.write().unwrap_or_else(PoisonError::into_inner);
    // The kernel still clears up the namespaces of the test before.
    sleep(Duration::from_secs(5));
    alone
}

/// Until everything is attached: others may have the CPUs, and the kernel may be clearing up after them.
pub(crate) const START: Duration = Duration::from_mins(1);

thread_local! {
    /// Events of this test that went without the kernel running a program.
    static UNSEEN: Cell<u64> = const { Cell::new(0) };
}

/// How often a test is tried where the kernel hides events.
const ATTEMPTS: u32 = 3;

/// Runs a test that traces this machine's kernel; says so and leaves it where that cannot be.
///
/// Some vendors' kernels run no tracing program while process 1 is on a CPU (kernel.init_private), so that now and
/// then a whole burst of expiries is not to be seen. A test that fails there and has lost events that way proves
/// nothing, and is repeated, which it says. Anywhere else, and for any other reason, a failure is a failure.
pub(crate) fn live(test: &str, body: impl Fn()) {
    repeated(test, Evidence::Wanted, body);
}

/// The same for a test of state changes that timers make: those that are hidden leave no trace at all.
pub(crate) fn live_with_timers(test: &str, body: impl Fn()) {
    repeated(test, Evidence::None, body);
}

/// Whether it must be known that events were hidden.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Evidence {
    Wanted,
    None,
}

fn repeated(test: &str, evidence: Evidence, body: impl Fn()) {
    if let Some(reason) = missing() {
        skip(test, reason);
        return;
    }
    for attempt in 1.. {
        UNSEEN.set(0);
        let Err(failure) = catch_unwind(AssertUnwindSafe(&body)) else { return };
        let unseen = UNSEEN.get();
        let may_be_hidden = hides_events() && (unseen > 0 || evidence == Evidence::None);
        if !may_be_hidden || attempt == ATTEMPTS {
            resume_unwind(failure);
        }
        eprintln!(
            "tw-trace-repeat: {test}: it failed, and this kernel hides events (kernel.init_private): {unseen} were \
             not seen"
        );
    }
}

fn hides_events() -> bool {
    fs::read_to_string("/proc/sys/kernel/init_private").is_ok_and(|is| is.trim() == "1")
}

/// Takes note of what a run lost in that way.
pub(crate) fn unseen(events: u64) {
    UNSEEN.set(UNSEEN.get() + events);
}

/// What this machine lacks; found out once.
pub(crate) fn missing() -> Option<&'static str> {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    MISSING.get_or_init(look_for_missing).as_deref()
}

fn look_for_missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    let mut doctor = Command::new(tw_trace());
    doctor.arg("doctor").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let doctor = ended(doctor.spawn().expect("running tw-trace doctor"));
    (doctor.status.code() == Some(3)).then(|| "tw-trace doctor: this kernel cannot be traced".to_owned())
}

pub(crate) fn tw_trace() -> PathBuf {
    binary("TW_TRACE_BIN", &["release/tw-trace"], "cargo xtask build")
}

pub(crate) fn xtask() -> PathBuf {
    binary("TW_TRACE_XTASK", &["debug/xtask", "release/xtask"], "cargo build --package xtask")
}

/// The binary that the variable names, else the first of these in the target folder.
fn binary(variable: &str, candidates: &[&str], how_to_build: &str) -> PathBuf {
    if let Some(path) = env::var_os(variable) {
        return PathBuf::from(path);
    }
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    candidates.iter().map(|candidate| target.join(candidate)).find(|path| path.exists()).unwrap_or_else(
        || panic!("no {candidates:?} in {}: run `{how_to_build}` first, or set {variable}", target.display()),
    )
}

/// Starts a tracer that writes into the file; returns when the header is in it: everything is attached.
pub(crate) fn attached(tracer: &mut Command, path: &Path) -> Child {
    let mut child = tracer
        .stdin(Stdio::null())
        .stdout(File::create(path).expect("creating the file"))
        .spawn()
        .expect("running tw-trace");
    let begun = Instant::now();
    while begun.elapsed() < START {
        if path.metadata().expect("the file").len() > 0 {
            return child;
        }
        sleep(Duration::from_millis(10));
    }
    let threads = threads(child.id());
    let _ = child.kill();
    panic!("tw-trace wrote no header within {START:?}: {:?}\n{threads}", child.wait());
}

/// How a process ended and what it said; it must end within a minute.
pub(crate) fn ended(child: Child) -> Output {
    ended_within(child, Duration::from_mins(1))
}

/// The same in longer time. One that takes more fails the test, with what its threads were waiting for.
pub(crate) fn ended_within(child: Child, limit: Duration) -> Output {
    let limit = Limit::on(child.id(), limit);
    let output = child.wait_with_output().expect("reading what the process said");
    limit.over().unwrap_or_else(|stuck| panic!("{stuck}\nit had said: {output:?}"));
    output
}

/// What `read` reads from the process, which has a minute for it.
pub(crate) fn in_time<T>(pid: u32, read: impl FnOnce() -> T) -> T {
    let limit = Limit::on(pid, Duration::from_mins(1));
    let read = read();
    limit.over().unwrap_or_else(|stuck| panic!("{stuck}"));
    read
}

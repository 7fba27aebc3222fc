//! What the live tests share: where the binaries are, whether this machine can run them, who may be loud.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::sleep;
use std::time::Duration;

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

/// Returns from the calling test, saying so, when this machine cannot run it.
macro_rules! needs_kernel {
    ($test:literal) => {
        if let Some(reason) = crate::harness::missing() {
            eprintln!("tw-trace-skip: {}: {reason}", $test);
            return;
        }
    };
}
pub(crate) use needs_kernel;

/// What this machine lacks; found out once.
pub(crate) fn missing() -> Option<&'static str> {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    MISSING.get_or_init(look_for_missing).as_deref()
}

fn look_for_missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    let doctor = Command::new(tw_trace()).arg("doctor").output().expect("running tw-trace doctor");
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

/// How a process ended and what it said; it must end within 20 s.
pub(crate) fn ended(mut child: Child) -> Output {
    for _ in 0..200 {
        if child.try_wait().expect("waiting for tw-trace").is_some() {
            return child.wait_with_output().expect("reading what tw-trace said");
        }
        sleep(Duration::from_millis(100));
    }
    let _ = child.kill();
    panic!("tw-trace did not end: {:?}", child.wait_with_output());
}

//! The tests themselves: a tracer that does not end fails its own test, says where it was stuck, and holds up no other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{live, quiet};
use crate::run::Tracer;

#[test]
fn a_stopped_tracer_fails_its_test_with_what_its_threads_do() {
    live("a_stopped_tracer_fails_its_test_with_what_its_threads_do", || {
        let _quiet = quiet();
        let tracer = Tracer::start(&["--netns", "/proc/self/ns/net"]);
        tracer.signal(Signal::SIGSTOP);
        let began = Instant::now();
        let failure = catch_unwind(AssertUnwindSafe(|| tracer.finish_within(Duration::from_secs(2))))
            .err()
            .expect("a tracer that is stopped does not end");
        let why = failure.downcast_ref::<String>().expect("a text");
        assert!(why.contains("trace --json") && why.contains("thread tw-trace: T (stopped)"), "{why}");
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    });
}

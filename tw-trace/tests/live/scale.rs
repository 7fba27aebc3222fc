//! More than a million sockets in TIME_WAIT when the run begins.

use std::time::{Duration, Instant};

use crate::harness::{live, loud};
use crate::run::{Tracer, ns};
use crate::traffic::Traffic;

/// Above what the kernel's iterator lists in one go.
const STANDING: u32 = 1_020_000;
const MORE: u32 = 5_000;
/// Two seconds on a machine that does nothing else.
const READY: Duration = Duration::from_secs(10);

#[test]
fn a_million_sockets_are_seeded_and_add_up() {
    live("a_million_sockets_are_seeded_and_add_up", || {
        let _loud = loud();
        let Some(mut traffic) = Traffic::standing(STANDING, MORE) else {
            eprintln!("tw-trace-skip-part: a million sockets: this machine makes them slower than they end");
            return;
        };
        let began = Instant::now();
        let tracer = Tracer::of_netns(traffic.netns, &["--events", "tw_enter,tw_exit"]);
        let took = began.elapsed();
        println!("ready after {} ms with {STANDING} sockets in TIME_WAIT", took.as_millis());
        traffic.go(1);
        let run = tracer.interrupt();
        run.assert_clean();
        assert_eq!(run.summary["seeded"], STANDING, "{}", run.summary);
        assert_eq!(run.summary["entered"], MORE, "{}", run.summary);
        let ended = ns(&run.summary["sockets"]["exited"]);
        assert_eq!(ns(&run.summary["live"]) + ended, u64::from(STANDING + MORE), "{}", run.summary);
        assert!(took < READY, "{took:?}");
    });
}

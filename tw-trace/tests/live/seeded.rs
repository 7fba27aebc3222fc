//! Sockets that were in TIME_WAIT before tw-trace started.

use std::thread::sleep;
use std::time::Duration;

use crate::harness::{live, quiet};
use crate::run::{LONG, Tracer, ns};
use crate::traffic::Traffic;

const COUNT: u32 = 20;

#[test]
fn sockets_of_before_the_start_are_seeded_and_their_ends_told() {
    live("sockets_of_before_the_start_are_seeded_and_their_ends_told", || {
        let _quiet = quiet();
        let mut traffic = Traffic::scenarios(&["client_first", "ipv6"], COUNT);
        traffic.go(2);
        let mut tracer = Tracer::of_netns(traffic.netns, &[]);
        tracer.read_exits(2 * COUNT as usize, LONG);
        let run = tracer.interrupt();
        run.assert_clean();
        assert_eq!(run.summary["seeded"], 2 * COUNT, "{}", run.summary);
        assert_eq!(run.summary["entered"], 0, "{}", run.summary);
        assert_eq!(run.summary["exited"]["expired"], 2 * COUNT, "{}", run.summary);
        let exits = run.of("tw_exit");
        assert_eq!(exits.len(), 2 * COUNT as usize);
        for exit in exits {
            assert_eq!(exit["entered"], "estimated", "{exit}");
            assert_eq!(exit["reason"], "expired", "{exit}");
        }
    });
}

/// On a host that never rests: what comes while everything is being attached is neither missed nor counted twice.
#[test]
fn a_run_that_begins_and_ends_under_load_adds_up() {
    live("a_run_that_begins_and_ends_under_load_adds_up", || {
        let _quiet = quiet();
        let mut traffic = Traffic::paced(20_000, 1_000);
        traffic.begin();
        sleep(Duration::from_secs(1));
        let netns = traffic.netns.to_string();
        for view in [&["trace", "--events", "tw_exit"][..], &["hist", "--of", "time-wait"], &["wheel"]] {
            let args = [view, &["--json", "--netns", &netns]].concat();
            let tracer = Tracer::command(&args);
            sleep(Duration::from_secs(1));
            let run = tracer.interrupt();
            assert!(run.status.success(), "{args:?}: {}", run.stderr);
            assert_eq!(run.summary["balanced"], true, "{args:?}: {}", run.summary);
            for came in ["seeded", "entered"] {
                assert!(ns(&run.summary[came]) > 0, "{args:?}: {}", run.summary);
            }
        }
    });
}

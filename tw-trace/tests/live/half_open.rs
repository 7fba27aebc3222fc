//! The time in SYN_RECV is that of the half-open connection, not that of the listener's child, which passes through it.

use tw_trace_common::event::NONE_NS;
use xtask::traffic::fast_open::{WAIT, WAITING};
use xtask::traffic::scenario::find;

use crate::harness::{live_with_timers, quiet};
use crate::run::{Run, Tracer, has_port, ns};
use crate::traffic::Traffic;

#[test]
fn syn_recv_lasts_as_long_as_the_connection_is_half_open() {
    live_with_timers("syn_recv_lasts_as_long_as_the_connection_is_half_open", || {
        let run = traced(&["half_open", "fast_open"]);
        let [waited] = times_in_syn_recv(&run, "half_open")[..] else { panic!("{:?}", run.events) };
        assert!((wait_ns()..NONE_NS).contains(&waited), "{waited} ns");
        // Its data came with the SYN: the child is there for the whole handshake, of some microseconds.
        let [handshake] = times_in_syn_recv(&run, "fast_open")[..] else { panic!("{:?}", run.events) };
        assert!(handshake < wait_ns(), "{handshake} ns");
    });
}

/// Many at once, made on one CPU and closed on another.
#[test]
fn fast_open_children_that_wait_are_timed() {
    live_with_timers("fast_open_children_that_wait_are_timed", || {
        let run = traced(&["fast_open_waits"]);
        let waited = times_in_syn_recv(&run, "fast_open_waits");
        assert_eq!(waited.len(), usize::from(WAITING), "{:?}", run.events);
        assert!(waited.iter().all(|ns| *ns >= wait_ns()), "{waited:?}");
    });
}

fn wait_ns() -> u64 {
    WAIT.as_nanos() as u64
}

fn traced(scenarios: &[&str]) -> Run {
    let _quiet = quiet();
    let mut traffic = Traffic::scenarios(scenarios, 1);
    let tracer = Tracer::of_netns(traffic.netns, &["--events", "state"]);
    traffic.go(scenarios.len());
    let run = tracer.interrupt();
    run.assert_clean();
    run
}

/// The dwell times of the scenario's sockets in SYN_RECV, all of which must be there.
fn times_in_syn_recv(run: &Run, scenario: &str) -> Vec<u64> {
    let port = find(scenario).expect("a scenario").port;
    let states = run.of("state").into_iter().filter(|event| has_port(event, port));
    states.filter(|event| event["old"] == "SYN_RECV").map(|event| ns(&event["dwell_ns"])).collect()
}

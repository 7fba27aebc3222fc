//! Sockets that were in TIME_WAIT before tw-trace started.

use crate::harness::{needs_kernel, quiet};
use crate::run::{LONG, Tracer};
use crate::traffic::Traffic;

const COUNT: u32 = 20;

#[test]
fn sockets_of_before_the_start_are_seeded_and_their_ends_told() {
    needs_kernel!("sockets_of_before_the_start_are_seeded_and_their_ends_told");
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
}

//! A network namespace that is removed takes its TIME_WAIT sockets along.

use crate::harness::{live, quiet};
use crate::run::{SHORT, Tracer};
use crate::traffic::Traffic;

const COUNT: u32 = 10;

#[test]
fn a_removed_namespace_ends_its_sockets() {
    live("a_removed_namespace_ends_its_sockets", || {
        let _quiet = quiet();
        let mut traffic = Traffic::scenarios(&["client_first", "ipv6"], COUNT);
        let mut tracer = Tracer::of_netns(traffic.netns, &[]);
        traffic.go(2);
        // Its only process ends, and with it the namespace, unless the tracer kept it alive.
        drop(traffic);
        tracer.read_exits(2 * COUNT as usize, SHORT);
        let run = tracer.interrupt();
        assert!(run.status.success(), "{}", run.stderr);
        let exits = run.of("tw_exit");
        assert_eq!(exits.len(), 2 * COUNT as usize);
        assert!(exits.iter().all(|exit| exit["reason"] == "netns_gone"), "{:?}", exits.first());
        assert_eq!(run.summary["lost"], 0, "{}", run.summary);
    });
}

//! Sockets of the same addresses and ports that are bound to different interfaces.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::{live, quiet};
use crate::run::{LONG, Run, Tracer, ends, ns};
use crate::traffic::Traffic;

const NAMES: &[&str] = &["bound_twins", "link_local_twins"];
/// Two of each.
const SOCKETS: usize = 4;

#[test]
fn twins_are_told_apart_by_their_interface() {
    live("twins_are_told_apart_by_their_interface", || {
        let _quiet = quiet();
        let mut traffic = Traffic::scenarios(NAMES, 1);
        let netns = traffic.netns.to_string();
        let hist = ["hist", "--json", "--of", "time-wait", "--by", "remote-address", "--netns", &netns];
        let hist = Tracer::command(&hist);
        let mut watching = Tracer::of_netns(traffic.netns, &[]);
        traffic.go(NAMES.len());
        let mut late = Tracer::of_netns(traffic.netns, &[]);
        watching.read_exits(SOCKETS, LONG);
        late.read_exits(SOCKETS, LONG);
        let [watching, late, hist] = [watching, late, hist].map(Tracer::interrupt);
        watching.assert_clean();
        late.assert_clean();
        assert_eq!(late.summary["seeded"], SOCKETS, "{}", late.summary);
        let exits = sockets(&watching, "tw_exit");
        assert_eq!(exits.len(), SOCKETS, "{exits:?}");
        assert_eq!(sockets(&watching, "tw_enter"), exits);
        assert_eq!(sockets(&late, "tw_exit"), exits, "those that were there before the start");
        let connections: BTreeSet<_> = exits.iter().map(|(ends, _)| ends).collect();
        assert_eq!(connections.len(), SOCKETS / 2, "twins have the same ends: {exits:?}");
        for exit in watching.of("tw_exit") {
            assert!(ns(&exit["duration_ns"]) >= ns(&exit["timeout_ns"]), "{exit}");
        }
        by_remote(&hist);
    });
}

/// Ends and interface of each socket that an event tells of.
fn sockets(run: &Run, kind: &str) -> BTreeSet<(String, u64)> {
    run.of(kind).into_iter().map(|event| (ends(event), ns(&event["ifindex"]))).collect()
}

/// The interface is part of a link-local address, and of no other.
fn by_remote(hist: &Run) {
    assert!(hist.status.success(), "{}", hist.stderr);
    let line = hist.of("hist").into_iter().next_back().expect("a line of all");
    let rows = line["by"].as_array().expect("rows by remote address");
    let of = |addr: &str| rows.iter().filter(|row| row["raddr"] == addr).collect::<Vec<&Value>>();
    let bound = of("10.77.0.2");
    assert_eq!((bound.len(), &bound[0]["count"], bound[0].get("ifindex")), (1, &2.into(), None), "{line}");
    let links: BTreeSet<_> = of("fe80::2").iter().map(|row| ns(&row["ifindex"])).collect();
    assert_eq!((links.len(), rows.len()), (2, 3), "{line}");
}

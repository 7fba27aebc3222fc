//! The FIN_WAIT2 mini-socket told apart from TIME_WAIT, simultaneous close, and IPv4 in IPv6 sockets.

use serde_json::Value;
use xtask::traffic::scenario::find;

use crate::harness::{live_with_timers, quiet};
use crate::run::{LONG, Run, Tracer, has_port, ns};
use crate::traffic::Traffic;

const COUNT: u32 = 10;
const NAMES: &[&str] = &[
    "fin_wait2_then_fin",
    "fin_wait2_then_fin_soon",
    "half_close",
    "both_at_once",
    "both_at_once6",
    "v4_mapped",
    "ipv6",
    "linger0",
];
const MS: u64 = 1_000_000;

#[test]
fn every_way_to_close_is_told_as_it_was() {
    live_with_timers("every_way_to_close_is_told_as_it_was", || {
        let _quiet = quiet();
        let mut traffic = Traffic::scenarios(NAMES, COUNT);
        let mut tracer = Tracer::of_netns(traffic.netns, &[]);
        traffic.go(NAMES.len());
        let began: u32 = NAMES.iter().map(|name| find(name).expect("a scenario").expect.began).sum();
        tracer.read_exits((began * COUNT) as usize, LONG);
        let run = tracer.interrupt();
        run.assert_clean();
        assert_eq!(run.summary["exited"]["expired"], began * COUNT, "{}", run.summary);
        fin_wait2_then_fin(&run);
        fin_wait2_then_fin_soon(&run);
        half_close(&run);
        both_at_once(&run, "both_at_once", "ipv4");
        both_at_once(&run, "both_at_once6", "ipv6");
        mapped(&run);
        assert_eq!(of(&run, "tw_enter", "linger0").len(), 0);
    });
}

/// Two tw_enter: the orphan's, then that of TIME_WAIT proper; the exit tells both times.
fn fin_wait2_then_fin(run: &Run) {
    let enters = of(run, "tw_enter", "fin_wait2_then_fin");
    let with = |substate: &str| enters.iter().filter(|enter| enter["substate"] == substate).count();
    assert_eq!((with("FIN_WAIT2"), with("TIME_WAIT")), (COUNT as usize, COUNT as usize));
    for exit in of(run, "tw_exit", "fin_wait2_then_fin") {
        // The server held its FIN back for 5.3 s, and some more on a busy machine.
        assert!((5_200 * MS..8_000 * MS).contains(&ns(&exit["fin_wait2_ns"])), "{exit}");
        assert!(ns(&exit["duration_ns"]) >= ns(&exit["timeout_ns"]), "{exit}");
        assert!(ns(&exit["duration_ns"]) < ns(&exit["timeout_ns"]) + 6_000 * MS, "{exit}");
    }
}

/// The change to TIME_WAIT may leave no event; the exit still tells both times, to a tick.
fn fin_wait2_then_fin_soon(run: &Run) {
    let exits = of(run, "tw_exit", "fin_wait2_then_fin_soon");
    assert_eq!(exits.len(), COUNT as usize);
    for exit in exits {
        assert_eq!(exit["substate"], "TIME_WAIT", "{exit}");
        assert!((550 * MS..3_000 * MS).contains(&ns(&exit["fin_wait2_ns"])), "{exit}");
        assert!(ns(&exit["duration_ns"]) + ns(&run.header["tick_ns"]) >= ns(&exit["timeout_ns"]), "{exit}");
        assert_eq!(exit["rearms"], 1, "{exit}");
    }
}

/// The socket is whole while in FIN_WAIT2: a state with its dwell, and only one tw_enter.
fn half_close(run: &Run) {
    assert_eq!(of(run, "tw_enter", "half_close").len(), COUNT as usize);
    let left: Vec<_> = of(run, "state", "half_close");
    let dwells: Vec<_> = left.iter().filter(|state| state["old"] == "FIN_WAIT2").collect();
    assert_eq!(dwells.len(), COUNT as usize);
    for state in dwells {
        assert!(ns(&state["dwell_ns"]) >= 50 * MS, "{state}");
    }
}

fn both_at_once(run: &Run, name: &str, family: &str) {
    let closing: Vec<_> = of(run, "state", name);
    let closing = closing.iter().filter(|state| state["old"] == "FIN_WAIT1" && state["new"] == "CLOSING");
    assert_eq!(closing.count(), 2 * COUNT as usize, "{name}: both ends go through CLOSING");
    let exits = of(run, "tw_exit", name);
    assert_eq!(exits.len(), 2 * COUNT as usize, "{name}");
    let closed_by = |comm: &str| exits.iter().filter(|exit| exit["comm"] == comm).count();
    assert_eq!(closed_by(xtask::traffic::CLIENT_COMM), COUNT as usize, "{name}");
    assert_eq!(closed_by(xtask::traffic::SERVER_COMM), COUNT as usize, "{name}");
    assert!(exits.iter().all(|exit| exit["family"] == family), "{name}");
}

fn mapped(run: &Run) {
    let exits = of(run, "tw_exit", "v4_mapped");
    assert_eq!(exits.len(), COUNT as usize);
    for exit in exits {
        assert_eq!(exit["family"], "ipv6", "{exit}");
        assert_eq!(exit["laddr"], "::ffff:127.0.0.1", "{exit}");
    }
    for exit in of(run, "tw_exit", "ipv6") {
        assert_eq!((&exit["family"], &exit["raddr"]), (&"ipv6".into(), &"::1".into()), "{exit}");
    }
}

fn of<'run>(run: &'run Run, kind: &str, name: &str) -> Vec<&'run Value> {
    let port = find(name).expect("a scenario").port;
    run.of(kind).into_iter().filter(|event| has_port(event, port)).collect()
}

//! A ring buffer that is far too small: what is lost is counted exactly, and nothing delivered is wrong.

use serde_json::Value;
use xtask::traffic::scenario::find;

use crate::harness::{live, quiet};
use crate::run::{LONG, Run, SHORT, Tracer, ns};
use crate::traffic::Traffic;

const CONNECTIONS: u32 = 6_000;

#[test]
fn forced_loss_is_counted_exactly() {
    live("forced_loss_is_counted_exactly", || {
        let _quiet = quiet();
        let mut traffic = Traffic::rate(CONNECTIONS, 2);
        let mut tracer = Tracer::of_netns(traffic.netns, &["--ring-size", "4KiB"]);
        let report = traffic.go(1).remove(0);
        assert_eq!(report["tcpext"]["TW"], CONNECTIONS);
        // All expire within two granules; what is silent for so long after the first is over.
        tracer.read_exits(1, LONG);
        tracer.read_until(SHORT, |_| false);
        let run = tracer.interrupt();
        assert!(run.status.success(), "{}", run.stderr);
        assert!(ns(&run.summary["lost"]) > 0, "a ring of 4 KiB cannot hold this: {}", run.summary);
        assert_eq!(run.summary["balanced"], true, "what was lost was counted: {}", run.summary);
        seen_and_lost_are_all(&run);
        run.of("tw_exit").iter().for_each(|exit| duration(exit, ns(&run.header["tick_ns"])));
    });
}

fn seen_and_lost_are_all(run: &Run) {
    let records = &run.summary["records"];
    for kind in ["state", "tw_enter", "tw_exit"] {
        let seen = run.of(kind).len() as u64;
        let lost = ns(&records[kind]["lost"]);
        println!("{kind}: {seen} seen, {lost} lost");
        assert_eq!(seen + lost, ns(&records[kind]["made"]), "{kind}: {records}");
    }
    // The kernel side's ledger does not pass through the ring.
    assert_eq!(run.summary["entered"], CONNECTIONS);
    assert_eq!(run.summary["exited"]["expired"], CONNECTIONS);
    assert_eq!(ns(&records["tw_exit"]["made"]), u64::from(CONNECTIONS));
}

/// The exit record is whole even where the tw_enter before it was lost.
fn duration(exit: &Value, tick: u64) {
    let parts = ns(&exit["timeout_ns"]) + ns(&exit["rounding_ns"]) + ns(&exit["lateness_ns"]);
    assert!(parts.abs_diff(ns(&exit["duration_ns"])) <= tick, "{exit}");
    assert!(ns(&exit["duration_ns"]) >= ns(&exit["timeout_ns"]), "{exit}");
}

/// Sockets that found no room in the map are followed as soon as there is some, and everything adds up.
#[test]
fn what_had_no_room_is_followed_when_there_is_some() {
    live("what_had_no_room_is_followed_when_there_is_some", || {
        // There is some more room than was asked for (`kernel::sizing::lines`).
        const ROOM: u32 = 100;
        const LINES: u32 = 192;
        const MANY: u32 = 1000;
        const LATE: u32 = 40;
        const NAME: &str = "server_first";
        let _quiet = quiet();
        let port = find(NAME).expect("a scenario").port.to_string();
        let mut first = Traffic::scenarios(&[NAME], MANY);
        let mut second = Traffic::scenarios(&[NAME], LATE);
        let mut tracer = Tracer::start(&["--port", &port, "--max-time-waits", &ROOM.to_string()]);
        first.go(1);
        second.go(1);
        let late = second.netns;
        // Its namespace goes, and its sockets with it.
        drop(first);
        let ends = |events: &[Value]| {
            events.iter().filter(|event| event["event"] == "tw_exit" && event["netns"] == late).count()
        };
        tracer.read_until(LONG, |events| ends(events) >= LATE as usize);
        let run = tracer.interrupt();
        assert!(run.status.success(), "{}", run.stderr);
        assert_eq!(run.summary["balanced"], true, "{}", run.summary);
        // Others beside us play the same scenario, now and then.
        assert!(
            ns(&run.summary["lost_by"]["tw_map_full"]) >= u64::from(MANY + LATE - LINES),
            "{}",
            run.summary
        );
        assert!(run.stderr.contains("there is room again for"), "{}", run.stderr);
        let late: Vec<_> = run.of("tw_exit").into_iter().filter(|exit| exit["netns"] == late).collect();
        assert_eq!(late.len(), LATE as usize);
        assert!(
            late.iter().all(|exit| exit["entered"] == "estimated" && exit["reason"] == "expired"),
            "{late:?}"
        );
    });
}

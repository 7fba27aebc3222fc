//! `tw-trace wheel` over real timers: every one counted once, in the bucket that the wheel model names.

use serde_json::Value;
use tw_trace::wheel::modern::granularity;

use crate::harness::{live, quiet};
use crate::run::{LONG, Run, SHORT, Tracer, ns};
use crate::schema;
use crate::traffic::Traffic;

const SCHEMA: &str = include_str!("../../../docs/wheel.schema.json");

fn wheel(netns: u64) -> Tracer {
    Tracer::command(&["wheel", "--json", "--interval", "1s", "--netns", &netns.to_string()])
}

/// Reads intervals until one shows no timer any more, after `ended` timers have ended.
fn read_down(tracer: &mut Tracer, ended: u64) {
    tracer.read_until(LONG, |events| {
        let gone =
            |event: &Value| event["exited"].as_object().map_or(0, |by| by.values().map(ns).sum::<u64>());
        events.last().is_some_and(|last| last["timers"] == 0) && events.iter().map(gone).sum::<u64>() >= ended
    });
    settle(tracer);
}

/// Reads one more interval: a burst that fired right before the last one is not over there yet.
fn settle(tracer: &mut Tracer) {
    let seen = tracer.events.len();
    tracer.read_until(SHORT, |events| events.len() > seen);
}

/// Exit code 0, balanced, each line as its schema has it, and the intervals sum up to the summary.
#[track_caller]
fn assert_clean(run: &Run) {
    assert!(run.status.success(), "{}: {}", run.status, run.stderr);
    assert_eq!(run.summary["balanced"], true, "{}", run.summary);
    assert_eq!(run.summary["lost"], 0, "{}", run.summary);
    assert_eq!(run.summary["unknown"], 0, "{}", run.summary);
    let validator = schema::validator_of(SCHEMA);
    for line in [&run.header, &run.summary].into_iter().chain(&run.events) {
        schema::check(&validator, &line.to_string());
    }
    let figure = |value: &Value, path: &str| ns(value.pointer(path).expect("a figure"));
    for path in ["/entered", "/exited/expired", "/bursts/timers"] {
        let sum: u64 = run.events.iter().map(|event| figure(event, path)).sum();
        assert_eq!(sum, figure(&run.summary, path), "{path}: {}", run.summary);
    }
    assert_eq!(run.summary["bursts"]["timers"], run.summary["exited"]["expired"], "{}", run.summary);
    for level in run.events.iter().flat_map(|event| event["wheels"].as_array().into_iter().flatten()) {
        assert_in_place(level);
    }
}

/// A bucket is due at a multiple of its level's granularity, and that says which slot it is.
#[track_caller]
fn assert_in_place(level: &Value) {
    let granule = granularity(ns(&level["level"]) as u8);
    for bucket in level["buckets"].as_array().expect("buckets") {
        let due = ns(&bucket["due"]);
        assert_eq!(due % granule, 0, "{level}");
        assert_eq!(due / granule % 64, ns(&bucket["slot"]), "{level}");
    }
}

#[test]
fn every_timer_is_on_the_wheel_until_its_burst() {
    live("every_timer_is_on_the_wheel_until_its_burst", || {
        const COUNT: u32 = 3_000;
        let _quiet = quiet();
        let mut traffic = Traffic::paced(COUNT, 1_000);
        let mut tracer = wheel(traffic.netns);
        traffic.go(1);
        // A look after the last connection and before the first expiry.
        tracer.read_until(SHORT, |events| events.last().is_some_and(|last| last["timers"] == COUNT));
        let all = tracer.events.last().expect("an interval").clone();
        assert_eq!(all["timers"], COUNT, "{all}");
        read_down(&mut tracer, COUNT.into());
        let run = tracer.interrupt();
        assert_clean(&run);
        assert_eq!(run.summary["entered"], COUNT, "{}", run.summary);
        assert_eq!(run.summary["exited"]["expired"], COUNT, "{}", run.summary);
        let tick = ns(&run.header["tick_ns"]);
        // 60 s in one level: rounded up by at least a jiffy, and by no more than a bucket.
        let level = ns(&all["wheels"][0]["level"]) as u8;
        let (rounding, overshoot) = (&run.summary["rounding_ns"], &run.summary["overshoot_ns"]);
        assert!(
            ns(&rounding["min"]) >= tick && ns(&rounding["max"]) <= granularity(level) * tick,
            "{rounding}"
        );
        assert_eq!(
            ns(&overshoot["sum"]),
            ns(&rounding["sum"]) + ns(&run.summary["lateness_ns"]["sum"]),
            "{}",
            run.summary
        );
        assert!(ns(&run.summary["largest_burst"]["timers"]) >= ns(&run.summary["longest_burst"]["timers"]));
    });
}

#[test]
fn timers_of_before_the_start_are_on_the_wheel_too() {
    live("timers_of_before_the_start_are_on_the_wheel_too", || {
        const COUNT: u32 = 300;
        let _quiet = quiet();
        let mut traffic = Traffic::scenarios(&["client_first", "ipv6"], COUNT);
        traffic.go(2);
        let mut tracer = wheel(traffic.netns);
        read_down(&mut tracer, 2 * u64::from(COUNT));
        let run = tracer.interrupt();
        assert_clean(&run);
        assert_eq!(run.summary["seeded"], 2 * COUNT, "{}", run.summary);
        assert_eq!(run.summary["entered"], 0, "{}", run.summary);
        assert_eq!(run.summary["exited"]["expired"], 2 * COUNT, "{}", run.summary);
    });
}

/// Two views of the same timers, one with an entry per socket and one without, agree on every end.
#[test]
fn early_ends_are_counted_as_trace_tells_them() {
    live("early_ends_are_counted_as_trace_tells_them", || {
        const NAMES: &[&str] = &[
            "reused",
            "new_syn",
            "new_syn6",
            "rst",
            "killed",
            "fin_wait2_data",
            "fin_wait2_then_fin",
            "rearm_late_segment",
            "client_first",
        ];
        let _quiet = quiet();
        let mut traffic = Traffic::scenarios(NAMES, 5);
        let mut wheel = wheel(traffic.netns);
        let tracer = Tracer::of_netns(traffic.netns, &["--events", "tw_enter,tw_exit"]);
        traffic.go(NAMES.len());
        let mut seen_some = false;
        wheel.read_until(LONG, |events| {
            let empty = events.last().is_some_and(|last| last["timers"] == 0);
            seen_some |= events.last().is_some_and(|last| last["timers"] != 0);
            seen_some && empty
        });
        settle(&mut wheel);
        let (wheel, trace) = (wheel.interrupt(), tracer.interrupt());
        assert_clean(&wheel);
        trace.assert_clean();
        for key in ["entered", "exited", "seeded", "live"] {
            assert_eq!(wheel.summary[key], trace.summary[key], "{key}");
        }
        assert!(ns(&wheel.summary["rearms"]) >= 5, "{}", wheel.summary);
    });
}

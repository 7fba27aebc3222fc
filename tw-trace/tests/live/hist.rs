//! Distributions counted in the kernel, held against every event that they are made of: bucket by bucket.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use xtask::distributions::{Distribution, differences, is_dated, made_of, told};
use xtask::traffic::scenario::find;

use crate::harness::{live, quiet};
use crate::run::{LONG, Run, Tracer, has_port, ns};
use crate::schema;
use crate::traffic::Traffic;

const COUNT: u32 = 10;
/// Every way to close and most of the ways to end early.
const NAMES: &[&str] = &[
    "client_first",
    "server_first",
    "ipv6",
    "v4_mapped",
    "half_close",
    "both_at_once",
    "fin_wait2_then_fin",
    "fin_wait2_then_fin_soon",
    "reused",
    "new_syn",
    "rst",
    "fin_wait2_data",
    "fin_wait2_expires",
    "linger0",
];
const CONNECTIONS: u32 = 4_000;
const A_SECOND: u32 = 1_000;

/// Exit code 0, nothing lost, balanced, and every line as the schema has it.
#[track_caller]
fn assert_clean(run: &Run) {
    assert!(run.status.success(), "{}: {}", run.status, run.stderr);
    assert_eq!(
        (&run.summary["lost"], &run.summary["balanced"]),
        (&json!(0), &json!(true)),
        "{}",
        run.summary
    );
    let validator = schema::validator_of(include_str!("../../../docs/hist.schema.json"));
    for line in [&run.header, &run.summary].into_iter().chain(&run.events) {
        schema::check(&validator, &line.to_string());
    }
}

#[track_caller]
fn assert_equal(run: &Run, wanted: &[&str]) {
    let (told, made_of) = (told(&run.events), made_of(&run.events));
    for of in wanted {
        assert!(made_of.contains_key(*of), "no {of} in {:?}", made_of.keys());
    }
    assert_eq!(differences(&told, &made_of), [""; 0]);
}

fn hist(netns: u64, more: &[&str]) -> Tracer {
    Tracer::command(&[&["hist", "--json", "--netns", &netns.to_string()], more].concat())
}

/// The kernel counts and tells the very same values; both must be the same distribution.
#[test]
fn distributions_are_those_of_the_events() {
    live("distributions_are_those_of_the_events", || {
        let _quiet = quiet();
        let mut traffic = Traffic::scenarios(NAMES, COUNT);
        let mut all = hist(traffic.netns, &["--with-events", "--by", "process"]);
        let filters = ["--of", "time-wait", "--by", "local-port", "--port", "8002", "--reason", "expired"];
        let some = hist(traffic.netns, &[&["--with-events"], &filters[..]].concat());
        traffic.go(NAMES.len());
        let began: u32 = NAMES.iter().map(|name| find(name).expect("a scenario").expect.began).sum();
        all.read_exits((began * COUNT) as usize, LONG);
        let (all, some) = (all.interrupt(), some.interrupt());
        assert_clean(&all);
        assert_equal(
            &all,
            &[
                "dwell ESTABLISHED",
                "dwell FIN_WAIT2",
                "dwell CLOSING",
                "fin_wait2",
                "lateness",
                "time_wait expired",
                "time_wait reused",
                "time_wait new_syn",
                "time_wait rst",
            ],
        );
        by_process(&all);
        filtered(&some, &all);
    });
}

/// What was counted by key is what the exits say of their owners.
fn by_process(run: &Run) {
    let mut wanted: BTreeMap<String, Distribution> = BTreeMap::new();
    for exit in run.of("tw_exit").into_iter().filter(|exit| is_dated(exit)) {
        wanted
            .entry(format!("{} {}", exit["comm"], exit["pid"]))
            .or_default()
            .insert(ns(&exit["duration_ns"]));
    }
    let line = run.of("hist")[0];
    assert_eq!(line["by_others"], json!({"keys": 0, "count": 0, "no_room": 0}));
    for told in line["by"].as_array().expect("keys") {
        let key = format!("{} {}", told["comm"], told["pid"]);
        let wanted = wanted.remove(&key).unwrap_or_else(|| panic!("{key} closed nothing"));
        let mut distribution = Distribution::default();
        distribution.add(told);
        assert_eq!((distribution.count, distribution.sum), (wanted.count, wanted.sum), "{key}");
        assert_eq!(distribution.buckets, wanted.buckets, "{key}");
    }
    assert!(wanted.is_empty(), "{wanted:?}");
}

/// Filters choose in the kernel, and what nobody asked for is not watched.
fn filtered(some: &Run, all: &Run) {
    assert!(some.status.success() && some.summary["balanced"] == true, "{}", some.summary);
    assert_equal(some, &["time_wait expired", "lateness"]);
    let chosen = |exit: &&&Value| has_port(exit, 8002) && exit["reason"] == "expired";
    let chosen = all.of("tw_exit").iter().filter(chosen).count();
    assert_eq!(told(&some.events)["time_wait expired"].count, chosen as u64);
    assert_eq!(some.summary["states"], Value::Null);
    let programs = some.header["programs"].to_string();
    assert!(!programs.contains("set_state") && programs.contains("timer_start"), "{programs}");
    let ports = some.of("hist")[0]["by"].as_array().expect("keys").clone();
    assert!(!ports.is_empty() && ports.iter().all(|port| port["lport"].is_u64()), "{ports:?}");
}

/// Some thousand connections, told in intervals: all of these added up are all events, and what had no key is counted.
#[test]
fn intervals_add_up_to_all_events() {
    live("intervals_add_up_to_all_events", || {
        let _quiet = quiet();
        let keys = 100;
        let mut traffic = Traffic::paced(CONNECTIONS, A_SECOND);
        let options =
            ["--with-events", "--interval", "2s", "--by", "local-port", "--keys", "100", "--top", "100"];
        let mut tracer = hist(traffic.netns, &options);
        traffic.go(1);
        tracer.read_exits(CONNECTIONS as usize, LONG);
        let run = tracer.interrupt();
        assert_clean(&run);
        let (mut told, mut made_of) = (told(&run.events), made_of(&run.events));
        assert!(run.of("hist").len() > 20, "{}", run.of("hist").len());
        let undated: u64 = run.of("hist").iter().map(|line| ns(&line["undated"])).sum();
        // A FIN that came within the slot of its FIN_WAIT2 mini-socket is found at the end, and dated to a jiffy only.
        assert_eq!(told["time_wait expired"].count + undated, u64::from(CONNECTIONS));
        assert!(undated < 100, "{undated}");
        assert!(told["dwell ESTABLISHED"].count >= u64::from(2 * CONNECTIONS));
        for distribution in told.values_mut().chain(made_of.values_mut()) {
            // Of an interval, they are told to a bucket.
            (distribution.min, distribution.max) = (None, None);
        }
        assert_eq!(told, made_of);
        let by = |line: &&Value| {
            let shown = line["by"].as_array().expect("keys").iter().map(|key| ns(&key["count"])).sum::<u64>();
            shown + ns(&line["by_others"]["count"])
        };
        let under_keys: u64 = run.of("hist").iter().map(by).sum();
        let no_room: u64 = run.of("hist").iter().map(|line| ns(&line["by_others"]["no_room"])).sum();
        assert_eq!(under_keys + no_room + undated, u64::from(CONNECTIONS));
        assert!(under_keys >= keys && no_room > 0, "{under_keys} {no_room}");
    });
}

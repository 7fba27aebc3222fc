//! Every line that the JSON sink can write is what docs/events.schema.json promises.

use serde_json::{Value, json};
use tw_trace::audit::Audit;
use tw_trace::collector::{Collector, KernelTotals, Watched};
use tw_trace::decode::{self, Record};
use tw_trace::header::Header;
use tw_trace::sink::json::Json;
use tw_trace::sink::{CgroupNames, Lost, Sink};
use tw_trace_common::counter::{COUNT, Counter};
use tw_trace_common::event::{
    Conn, Kind, NONE_NS, Owner, State, TwEnter, TwExit, TwOverflow, TwRearm, Wheel, exit_flags,
};
use tw_trace_common::followed::Ledger;
use tw_trace_common::state::{Entered, ExitReason, RearmCause, Substate, TcpState};

#[path = "common/records.rs"]
mod made_up;
#[path = "common/schema.rs"]
mod schema;

struct OneCgroup;

impl CgroupNames for OneCgroup {
    fn path(&mut self, id: u64) -> Option<&str> {
        (id == made_up::owner().cgroup).then_some("/user.slice")
    }
}

/// What the sink writes, line by line, after its header.
fn written(write: impl FnOnce(&mut dyn Sink)) -> Vec<Value> {
    let mut out = Vec::new();
    let mut sink = Json::new(&mut out, OneCgroup);
    sink.header(&header()).expect("writing to memory");
    write(&mut sink);
    sink.flush().expect("writing to memory");
    let validator = schema::validator();
    let text = String::from_utf8(out).expect("UTF-8");
    text.lines().map(|line| schema::check(&validator, line)).collect()
}

fn header() -> Header {
    Header {
        version: "0.1.0".into(),
        kernel: "6.12.0".into(),
        hz: 250,
        tick_ns: made_up::TICK_NS,
        backend: "fentry".into(),
        programs: vec!["inet_twsk_kill".into()],
        blind_spots: vec!["nothing \"much\"".into()],
        replaced: vec!["state changes: x() is gone".into()],
        sysctls: [("net.ipv4.tcp_tw_reuse".into(), "2".into())].into(),
        filters: vec!["--port 80".into()],
        realtime_offset_ns: 1_700_000_000_000_000_000,
        started_mono_ns: made_up::START,
    }
}

/// Each kind with every value of its enums.
fn every_value() -> Vec<Record> {
    let mut records = made_up::one_of_each().to_vec();
    for &state in TcpState::ALL {
        records.push(Record::State(State { old: state as u8, new: state as u8, ..made_up::state() }));
    }
    for &substate in Substate::ALL {
        for &entered in Entered::ALL {
            let (substate, entered) = (substate as u8, entered as u8);
            records.push(Record::TwEnter(TwEnter { substate, entered, ..made_up::enter() }));
            for &reason in ExitReason::ALL {
                let exit = made_up::early_exit(reason, 5);
                records.push(Record::TwExit(TwExit { substate, entered, ..exit }));
            }
        }
        for &cause in RearmCause::ALL {
            let (substate, cause) = (substate as u8, cause as u8);
            records.push(Record::TwRearm(TwRearm { substate, cause, ..made_up::rearm() }));
        }
    }
    records
}

/// Each kind with everything unknown that can be.
fn unknowns() -> Vec<Record> {
    let conn = Conn { cookie: 0, ..made_up::conn6() };
    let (owner, wheel) = (Owner::default(), Wheel::default());
    vec![
        Record::State(State { conn, owner, dwell_ns: NONE_NS, ..made_up::state() }),
        Record::TwEnter(TwEnter { conn, owner, wheel, timeout_jiffies: 0, ..made_up::enter() }),
        Record::TwRearm(TwRearm { conn, owner, wheel, elapsed_ns: NONE_NS, ..made_up::rearm() }),
        Record::TwExit(TwExit {
            conn,
            owner,
            wheel,
            duration_ns: NONE_NS,
            fin_wait2_ns: NONE_NS,
            since_arming_ns: NONE_NS,
            lateness_ns: NONE_NS,
            timeout_jiffies: 0,
            flags: u8::MAX,
            ..made_up::exit()
        }),
        Record::TwOverflow(TwOverflow { conn, owner, limit: NONE_NS, ..made_up::overflow() }),
    ]
}

#[test]
fn records_of_every_kind_and_value() {
    let records: Vec<_> = every_value().into_iter().chain(unknowns()).collect();
    let lines = written(|sink| {
        for record in &records {
            // Only what can come over the wire.
            let record = decode::decode(&made_up::bytes(record)).expect("a record");
            sink.record(&record).expect("writing to memory");
        }
    });
    assert_eq!(lines.len(), 1 + records.len());
    for &kind in Kind::ALL {
        assert!(lines.iter().any(|line| line["event"] == kind.name()), "{}", kind.name());
    }
}

/// The kernel's wheel has nine levels of 64 slots; random bytes would make up others.
fn wheel(record: &Record) -> Option<&Wheel> {
    match record {
        Record::TwEnter(r) => Some(&r.wheel),
        Record::TwRearm(r) => Some(&r.wheel),
        Record::TwExit(r) => Some(&r.wheel),
        Record::State(_) | Record::TwOverflow(_) => None,
    }
}

#[test]
fn random_records() {
    let mut random = made_up::Random::new(11);
    let records: Vec<_> = made_up::one_of_each().into_iter().cycle().take(500).collect();
    let lines = written(|sink| {
        for record in &records {
            let mut bytes = made_up::bytes(record);
            for _ in 0..20 {
                let at = random.below(bytes.len() as u64) as usize;
                let before = bytes[at];
                bytes[at] = random.below(256) as u8;
                if decode::decode(&bytes).is_err() {
                    bytes[at] = before;
                }
            }
            let record = decode::decode(&bytes).expect("a record");
            if wheel(&record).is_none_or(|wheel| wheel.level <= 8 && wheel.slot <= 63) {
                sink.record(&record).expect("writing to memory");
            }
        }
    });
    assert!(lines.len() > 100);
}

#[test]
fn lost_and_summaries() {
    let empty = Collector::new(made_up::TICK_NS).finish(&KernelTotals::default(), Audit::default());
    let mut full = Collector::new(made_up::TICK_NS);
    every_value().iter().for_each(|record| full.observe(record));
    let entered = Entered::Estimated as u8;
    full.observe(&Record::TwExit(TwExit { flags: exit_flags::SEEDED, entered, ..made_up::exit() }));
    let totals = KernelTotals {
        ledgers: [(1, Ledger { entered: 9, exited: [1; 8], ..Ledger::default() })].into(),
        counters: [3; COUNT as usize],
        ..KernelTotals::default()
    };
    let audit = Audit {
        deltas: [("TW".into(), 9), ("sockstat_tw".into(), -4)].into(),
        overflow: Some(2),
        problems: vec!["a problem".into()],
        unaudited: vec!["namespace 7".into()],
    };
    let full = full.finish(&totals, audit);
    let blind =
        KernelTotals { watched: Watched { states: false, time_waits: false, overflows: false }, ..totals };
    let blind = Collector::new(made_up::TICK_NS).finish(&blind, Audit::default());
    let unclaimed = KernelTotals { uncovered: vec!["LISTEN is not told".into()], ..KernelTotals::default() };
    let unclaimed = Collector::new(made_up::TICK_NS).finish(&unclaimed, Audit::default());
    let lost = Lost { count: 512, place: Counter::RingState.name().into(), mono_ns: made_up::START };
    let lines = written(|sink| {
        sink.lost(&lost).expect("writing to memory");
        sink.summary(&empty).expect("writing to memory");
        sink.summary(&full).expect("writing to memory");
        sink.summary(&blind).expect("writing to memory");
        sink.summary(&unclaimed).expect("writing to memory");
    });
    assert_eq!((&lines[1]["event"], &lines[1]["count"]), (&json!("lost"), &json!(512)));
    assert_eq!((&lines[2]["balanced"], &lines[2]["duration_ns"]), (&json!(true), &Value::Null));
    assert_eq!(
        (&lines[5]["balanced"], &lines[5]["uncovered"][0]),
        (&Value::Null, &json!("LISTEN is not told"))
    );
    let full = &lines[3];
    assert_eq!((&full["balanced"], &full["exited"]["rst"]), (&json!(false), &json!(1)));
    assert_eq!((&full["kernel"]["sockstat_tw"], &full["lost_by"]["tw_map_full"]), (&json!(-4), &json!(3)));
    assert_eq!(full["records"]["state"]["made"], json!(3));
    // What was there before the run has no start that was seen.
    let undated = |exit: &&TwExit| {
        exit.substate == Substate::TimeWait as u8 && (exit.entered == entered || exit.duration_ns == NONE_NS)
    };
    let exits: Vec<_> = every_value().into_iter().filter_map(only_exits).collect();
    assert_eq!(full["estimated"], json!(exits.iter().filter(undated).count() + 1));
    for key in ["entered", "exited", "seeded", "live", "states", "rearms", "sockets"] {
        assert!(!full[key].is_null(), "{key}");
        assert_eq!(lines[4].get(key), Some(&Value::Null), "{key}");
    }
    assert!(full["histogram"].as_array().is_some_and(|bars| !bars.is_empty()));
}

const fn only_exits(record: Record) -> Option<TwExit> {
    match record {
        Record::TwExit(exit) => Some(exit),
        Record::State(_) | Record::TwEnter(_) | Record::TwRearm(_) | Record::TwOverflow(_) => None,
    }
}

#[test]
fn the_schema_refuses_what_it_does_not_know() {
    let validator = schema::validator();
    let good =
        written(|sink| sink.record(&Record::TwExit(made_up::exit())).expect("writing to memory"))[1].clone();
    let refused = |change: fn(&mut Value)| {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(!validator.is_valid(&bad), "{bad}");
    };
    assert!(validator.is_valid(&good));
    refused(|event| event["reason"] = json!("timeout"));
    refused(|event| event["lport"] = json!(65_536));
    refused(|event| event["event"] = json!("tw_end"));
    refused(|event| event["ts"] = json!("2023-11-14T22:30:00Z"));
    refused(|event| event["duration_ns"] = json!("1"));
    refused(|event| drop(event.as_object_mut().and_then(|keys| keys.remove("lateness_ns"))));
    refused(|event| drop(event["wheel"].as_object_mut().and_then(|keys| keys.remove("fired_cpu"))));
}

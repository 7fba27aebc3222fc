//! Lines as text, key by key; tests/schema.rs holds all of them against the schema.

use serde_json::{Value, json};

use super::*;
use crate::made_up::{self, TICK_NS};

struct OneCgroup;

impl CgroupNames for OneCgroup {
    fn path(&mut self, id: u64) -> Option<&str> {
        (id == 42).then_some("/system.slice/a \"b\".service")
    }
}

fn line(record: Record) -> String {
    let mut out = Vec::new();
    let mut sink = Json::new(&mut out, OneCgroup);
    sink.header =
        Header { tick_ns: TICK_NS, realtime_offset_ns: 1_700_000_000 * 1_000_000_000, ..Header::default() };
    sink.record(&record).and_then(|()| sink.flush()).expect("writing to memory");
    String::from_utf8(out).expect("UTF-8")
}

fn parsed(record: Record) -> Value {
    serde_json::from_str(&line(record)).expect("JSON")
}

#[test]
fn an_expiry_tells_everything() {
    assert_eq!(
        line(Record::TwExit(made_up::exit())),
        concat!(
            r#"{"event":"tw_exit","ts":"2023-11-14T22:31:03.923000000Z","mono_ns":1063923000000,"cookie":77,"#,
            r#""netns":4026531840,"family":"ipv4","laddr":"192.0.2.1","lport":40000,"raddr":"198.51.100.20","#,
            r#""rport":8080,"pid":1234,"comm":"client","cgroup":"/system.slice/a \"b\".service","#,
            r#""reason":"expired","substate":"TIME_WAIT","entered":"exact","duration_ns":61923000000,"#,
            r#""fin_wait2_ns":0,"since_arming_ns":61923000000,"rearms":0,"seeded":false,"#,
            r#""timeout_ns":60000000000,"rounding_ns":1920000000,"lateness_ns":3000000,"#,
            r#""wheel":{"cpu":1,"level":3,"slot":40,"expires":20000,"bucket":20480,"#,
            r#""granularity_ns":2048000000,"fired_cpu":1}}"#,
            "\n"
        )
    );
}

#[test]
fn an_early_end_has_no_timer_parts_and_no_firing_cpu() {
    let exit = parsed(Record::TwExit(made_up::early_exit(ExitReason::Reused, 5)));
    assert_eq!(exit["wheel"]["fired_cpu"], Value::Null);
    assert!(exit.get("lateness_ns").is_none() && exit.get("rounding_ns").is_none());
    assert_eq!((&exit["reason"], &exit["duration_ns"]), (&json!("reused"), &json!(5)));
}

#[test]
fn the_unknown_is_null() {
    let unknown = TwExit {
        conn: Conn { cookie: 0, ..made_up::conn() },
        owner: Owner::default(),
        wheel: Wheel::default(),
        duration_ns: NONE_NS,
        fin_wait2_ns: NONE_NS,
        since_arming_ns: NONE_NS,
        lateness_ns: NONE_NS,
        timeout_jiffies: 0,
        flags: exit_flags::SEEDED | exit_flags::HIDDEN_REARM,
        ..made_up::exit()
    };
    let exit = parsed(Record::TwExit(unknown));
    for key in [
        "cookie",
        "pid",
        "comm",
        "cgroup",
        "wheel",
        "duration_ns",
        "fin_wait2_ns",
        "since_arming_ns",
        "lateness_ns",
        "rounding_ns",
        "timeout_ns",
    ] {
        assert_eq!(exit.get(key), Some(&Value::Null), "{key}");
    }
    assert_eq!((&exit["seeded"], &exit["rearm_hidden"]), (&json!(true), &json!(true)));
    let state = parsed(Record::State(State { dwell_ns: NONE_NS, ..made_up::state() }));
    assert_eq!(state["dwell_ns"], Value::Null);
    let overflow = parsed(Record::TwOverflow(TwOverflow { limit: NONE_NS, ..made_up::overflow() }));
    assert_eq!(overflow["limit"], Value::Null);
}

#[test]
fn ipv6_addresses_and_odd_names() {
    let owner = Owner { comm: *b"a\"\\\x01\xff\0\0\0\0\0\0\0\0\0\0\0", cgroup: 7, ..made_up::owner() };
    let state = parsed(Record::State(State { conn: made_up::conn6(), owner, ..made_up::state() }));
    assert_eq!((&state["family"], &state["laddr"]), (&json!("ipv6"), &json!("2001:db8::1")));
    assert_eq!(state["raddr"], "::ffff:192.0.2.7");
    assert_eq!((&state["comm"], &state["cgroup"]), (&json!("a\"\\\u{1}\u{fffd}"), &Value::Null));
    assert_eq!(state["cgroup_id"], 7, "the id stands in for a path that is not known");
    let nobody = parsed(Record::State(State { owner: Owner { cgroup: 0, ..owner }, ..made_up::state() }));
    assert_eq!((&nobody["cgroup"], nobody.get("cgroup_id")), (&Value::Null, None));
}

#[test]
fn owners_are_not_mixed_up_between_lines() {
    let mut out = Vec::new();
    let mut sink = Json::new(&mut out, OneCgroup);
    for pid in [1, 1, 2, 0] {
        let owner = Owner { pid, ..made_up::owner() };
        sink.record(&Record::State(State { owner, ..made_up::state() })).expect("writing to memory");
    }
    sink.flush().expect("writing to memory");
    let pids: Vec<Value> = String::from_utf8_lossy(&out)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["pid"].clone())
        .collect();
    assert_eq!(pids, [json!(1), json!(1), json!(2), Value::Null]);
}

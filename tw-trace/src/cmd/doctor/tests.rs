//! The report of made-up kernels.

use std::collections::BTreeMap;

use super::settings::Rounding;
use super::*;
use crate::kernel::facts::tests::able;
use crate::kernel::plan;
use crate::kernel::tick::Tick;

fn report(facts: &Facts) -> Report {
    let everything = Wants::kinds(Kind::ALL);
    let plan = |backend| plan::plan(backend, facts, everything).map_err(|refusal| refusal.reasons.join("; "));
    let settings = [
        ("tcp_fin_timeout", "30"),
        ("tcp_tw_reuse", "2"),
        ("tcp_max_tw_buckets", "8192"),
        ("tcp_rfc1337", "0"),
        ("tcp_timestamps", "1"),
        ("ip_local_port_range", "32768\t60999"),
    ];
    Report {
        sysctls: Sysctls(settings.map(|(name, value)| (name, value.to_owned())).into()),
        counters: Ok(Counters { tcp_ext: BTreeMap::from([("TCPTimeWaitOverflow", 3)]), tw: 17 }),
        ..Report::new(facts.clone(), plan)
    }
}

fn text(report: &Report) -> String {
    let mut out = Vec::new();
    render(report, Format::Text, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn json(report: &Report) -> serde_json::Value {
    let mut out = Vec::new();
    render(report, Format::Json, &mut out).unwrap();
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn the_wheel_rounds_as_the_kernel_does() {
    for (ns, hz, level, granularity_ms) in
        [(10_000_000, 100, 3, 5_120), (4_000_000, 250, 3, 2_048), (1_000_000, 1000, 4, 4_096)]
    {
        let rounding = Rounding::of(60, Tick { ns, hz });
        assert_eq!(rounding, Rounding { level, granularity_ns: granularity_ms * 1_000_000 });
    }
    let sentence = settings::wheel(Tick { ns: 4_000_000, hz: 250 });
    assert!(sentence.contains("60.0\u{2013}62.05 s"), "{sentence}");
}

#[test]
fn text_tells_what_settings_do() {
    let text = text(&report(&able()));
    for expected in [
        "HZ               250 (measured: a jiffy is 4000000 ns)",
        "tcp_fin_timeout = 30\n      never changes TIME_WAIT",
        "on loopback only",
        "now 17 of 8192; 3 have skipped it so far",
        "ip_local_port_range = 32768 60999\n      28232 ports",
        "cannot see: ",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
    }
}

#[test]
fn json_says_the_same() {
    let report = report(&able());
    let json = json(&report);
    assert_eq!(json["schema"], 1);
    assert_eq!(json["usable"], report.usable());
    assert_eq!(json["wheel"]["granularity_ns"], 2_048_000_000u64);
    assert_eq!(json["settings"]["tcp_max_tw_buckets"]["value"], "8192");
    assert_eq!(json["counters"]["tw"], 17);
    assert_eq!(json["btf"]["trace_events"]["timer_start"], 2);
    assert_eq!(json["untold"], serde_json::json!({}));
}

#[test]
fn what_cannot_be_told_is_null_with_its_reason() {
    let mut facts = able();
    facts.btf = Err(Untold("no BTF here".into()));
    facts.system.lockdown = Err(Untold("securityfs is not mounted".into()));
    let report = report(&facts);
    assert!(!report.usable() && report.auto.is_none());
    let json = json(&report);
    assert!(json["btf"].is_null() && json["lockdown"].is_null() && json["auto"].is_null());
    assert_eq!(json["untold"]["btf"], "no BTF here");
    assert_eq!(json["functions"]["tcp_abort"]["btf"], serde_json::Value::Null);
    let text = text(&report);
    assert!(text.contains("unknown: no BTF here"), "{text}");
    assert!(text.contains("auto takes       none"), "{text}");
}

#[test]
fn this_machine_gets_a_report_without_attaching() {
    let mut out = Vec::new();
    run(Format::Text, &Prepared::read(None).unwrap(), &mut out).unwrap();
    assert!(!out.is_empty());
}

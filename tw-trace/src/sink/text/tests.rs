//! Golden: the text output of a small made-up run, in tests/goldens. `TW_TRACE_BLESS=1` writes it anew.

use tw_trace_common::counter::Counter;
use tw_trace_common::followed::Ledger;

use super::*;
use crate::audit::Audit;
use crate::collector::{Collector, KernelTotals};
use crate::made_up::{self, START, TICK_NS};
use crate::sink::histogram::bars;

fn header() -> Header {
    Header {
        version: "0.1.0".into(),
        kernel: "6.12.0".into(),
        hz: 250,
        tick_ns: TICK_NS,
        backend: "tracepoint".into(),
        blind_spots: vec!["connections that skip TIME_WAIT".into()],
        filters: vec!["--port 8080".into()],
        realtime_offset_ns: 1_700_000_000_000_000_000,
        started_mono_ns: START,
        ..Header::default()
    }
}

fn golden(file: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(file);
    if std::env::var_os("TW_TRACE_BLESS").is_some() {
        std::fs::write(&path, text).expect("the golden can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("the golden can be read");
    assert_eq!(text, expected, "differs from {}", path.display());
}

fn lines(records: &[Record]) -> String {
    let mut out = Vec::new();
    let mut sink = Text::new(&mut out, Style::Plain);
    sink.header(&header()).expect("writing to memory");
    for record in records {
        sink.record(record).expect("writing to memory");
    }
    sink.lost(&Lost { count: 3, place: "ring_full_state".into(), mono_ns: START + 1 })
        .expect("writing to memory");
    sink.flush().expect("writing to memory");
    String::from_utf8(out).expect("UTF-8")
}

/// 1,500 expiries spread over two seconds and 40 reuses in the first; two state records lost.
fn run() -> Summary {
    let mut collector = Collector::new(TICK_NS);
    let mut ledger = Ledger { seeded: 1, entered: 2039, ..Ledger::default() };
    for step in 0..1_500 {
        let ns = 60_052_000_000 + step * 1_333_000;
        collector.observe(&Record::TwExit(TwExit {
            duration_ns: ns,
            since_arming_ns: ns,
            ..made_up::exit()
        }));
        ledger.exited[ExitReason::Expired as usize] += 1;
    }
    for step in 1..=40 {
        collector.observe(&Record::TwExit(made_up::early_exit(ExitReason::Reused, step * 25_000_000)));
        ledger.exited[ExitReason::Reused as usize] += 1;
    }
    let mut totals = KernelTotals {
        ledgers: [(1, ledger)].into(),
        from_mono_ns: START,
        to_mono_ns: START + 90 * made_up::SECOND,
        live: 500,
        ..KernelTotals::default()
    };
    totals.counters[Counter::States as usize] = 20_000;
    totals.counters[Counter::MadeTwExit as usize] = 1540;
    totals.counters[Counter::MadeState as usize] = 2;
    totals.counters[Counter::RingState as usize] = 2;
    let deltas = [("TW".to_owned(), 2039), ("TWRecycled".to_owned(), 40), ("TWKilled".to_owned(), 0)];
    collector.finish(&totals, Audit { deltas: deltas.into(), overflow: Some(0), ..Audit::default() })
}

#[test]
fn events_are_one_aligned_line_each() {
    let mut records = made_up::one_of_each().to_vec();
    records.push(Record::TwExit(made_up::early_exit(ExitReason::Reused, 12_345_678)));
    records.push(Record::State(State { conn: made_up::conn6(), dwell_ns: NONE_NS, ..made_up::state() }));
    records.push(Record::State(State { dwell_ns: 1_500, owner: Owner::default(), ..made_up::state() }));
    records.push(Record::TwExit(TwExit {
        substate: Substate::FinWait2 as u8,
        fin_wait2_ns: 5 * made_up::SECOND,
        ..made_up::early_exit(ExitReason::Rst, 0)
    }));
    records.push(Record::TwExit(TwExit {
        rearms: 2,
        flags: exit_flags::HIDDEN_REARM | exit_flags::SEEDED,
        fin_wait2_ns: 5 * made_up::SECOND,
        ..made_up::exit()
    }));
    golden("text-events.txt", &lines(&records));
}

#[test]
fn lines_of_ipv4_fit_140_columns() {
    let mut conn = made_up::conn();
    conn.laddr[..4].copy_from_slice(&[127, 0, 0, 1]);
    let exit = TwExit { lateness_ns: 212_345, since_arming_ns: 61_872_212_345, ..made_up::exit() };
    let text = lines(&[
        Record::TwExit(exit),
        Record::TwExit(TwExit { conn, ..exit }),
        Record::TwEnter(made_up::enter()),
        Record::TwRearm(made_up::rearm()),
        Record::State(made_up::state()),
        Record::TwOverflow(made_up::overflow()),
    ]);
    for line in text.lines().skip(3) {
        assert!(line.chars().count() <= 140, "{} columns: {line}", line.chars().count());
    }
    assert!(text.contains("(60 s timer + 1.872 s slot + 212 µs late)"), "{text}");
    // What overruns its column leaves the later ones in their place.
    let owners: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once("client[").map(|(before, _)| before.chars().count()))
        .collect();
    assert!(owners.len() == 6 && owners.iter().all(|column| *column == owners[0]), "{owners:?}\n{text}");
}

#[test]
fn long_runs_of_empty_bars_are_one_row() {
    let second = made_up::SECOND;
    let durations = vec![(60 * second, 5), (60 * second + 700_000_000, 5), (62 * second, 5)];
    let spread = crate::collector::Spread { count: 15, ..Default::default() };
    let text = text_summary::summary(
        &Summary { bars: bars(&durations), duration: Some(spread), ..Summary::default() },
        Style::Plain,
    );
    assert_eq!((text.matches('⋮').count(), text.matches('│').count()), (2, 3), "{text}");
}

#[test]
fn what_is_not_known_is_said_in_a_sentence() {
    let nothing = text_summary::summary(&Summary::default(), Style::Plain);
    assert!(nothing.contains("TIME_WAIT sockets were not watched: nothing is known of them.\n"), "{nothing}");
    assert!(nothing.contains("State changes were not watched.\n"), "{nothing}");
    assert!(!nothing.contains("skipped TIME_WAIT"), "{nothing}");
    let filtered = Summary {
        sockets: Some(crate::summary::Sockets::default()),
        exited: Some([3; 8]),
        filtered: true,
        estimated: 2,
        expired_otherwise: 4,
        ..Summary::default()
    };
    let text = text_summary::summary(&filtered, Style::Plain);
    assert!(text.contains("is not known: the kernel counts them for whole namespaces only.\n"), "{text}");
    assert!(
        text.contains("2 more whose start was not seen, only worked out, are left out of the times\n"),
        "{text}"
    );
    assert!(text.contains("expired otherwise: 4, "), "{text}");
}

#[test]
fn the_account_reads_as_stored() {
    golden("text-summary.txt", &text_summary::summary(&run(), Style::Plain));
}

#[test]
fn what_cannot_be_claimed_is_not() {
    let summary = Summary { uncovered: vec!["LISTEN is not told".into()], ..Summary::default() };
    let text = text_summary::summary(&summary, Style::Plain);
    assert!(text.ends_with("balanced: not claimed – LISTEN is not told\n"), "{text}");
}

#[test]
fn what_does_not_add_up_is_last_and_says_why() {
    let summary =
        Summary { balanced: Some(false), unbalanced: vec!["one".into(), "two".into()], ..Summary::default() };
    let text = text_summary::summary(&summary, Style::Colour);
    assert!(text.ends_with("\x1b[1;31mbalanced: NO – one\n              two\x1b[0m\n"), "{text}");
}

//! Runs as the JSON sink writes them, laid over predictions; and what is no run.

use clap::Parser as _;
use serde_json::Value;
use tw_trace_common::event::TwExit;
use tw_trace_common::state::ExitReason;

use super::*;
use crate::cli::{Cli, Command};
use crate::collector::Spread;
use crate::decode::Record;
use crate::header::Header;
use crate::made_up::{self, SECOND, TICK_NS};
use crate::sink::{CgroupNames, Sink as _, histogram::bars, json::Json};
use crate::summary::Summary;

struct NoCgroups;

impl CgroupNames for NoCgroups {
    fn path(&mut self, _: u64) -> Option<&str> {
        None
    }
}

fn args(line: &str) -> ModelArgs {
    let words = ["tw-trace", "model"].into_iter().chain(line.split_whitespace());
    match Cli::try_parse_from(words).expect("a command line").command {
        Command::Model(args) => args,
        Command::Trace(_) | Command::Hist(_) | Command::Wheel(_) | Command::Doctor(_) => panic!("not model"),
    }
}

/// Expiries of sockets that were closed evenly over 20 s, as HZ=250 makes them.
fn expiries() -> Vec<TwExit> {
    let place = |close: u64| {
        let mut exit = made_up::exit();
        exit.wheel.expires = 20_000 + close * 5;
        exit.wheel.bucket = (exit.wheel.expires / 512 + 1) * 512;
        let waited = (exit.wheel.bucket - exit.wheel.expires + 15_000) * TICK_NS + exit.lateness_ns;
        exit.duration_ns = waited;
        exit.since_arming_ns = waited;
        exit.head.mono_ns = made_up::START + close * 5 * TICK_NS + waited;
        exit
    };
    (0..1_000).map(place).collect()
}

/// What `trace --json` prints of them.
fn run(exits: &[TwExit], summary: &Summary) -> String {
    let header = Header { kernel: "6.12.1".into(), hz: 250, tick_ns: TICK_NS, ..Header::default() };
    let mut out = Vec::new();
    let mut sink = Json::new(&mut out, NoCgroups);
    sink.header(&header).expect("writing to memory");
    for exit in exits {
        sink.record(&Record::TwExit(*exit)).expect("writing to memory");
    }
    sink.record(&Record::State(made_up::state())).expect("writing to memory");
    sink.summary(summary).expect("writing to memory");
    drop(sink);
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn a_run_of_another_view_is_refused_by_its_name() {
    let wheel = "{\"event\":\"header\",\"hz\":250,\"tick_ns\":4000000}\n{\"event\":\"wheel\"}\n{\"event\":\"summary\"}\n";
    let why = read(wheel).err().expect("no times in it");
    assert!(why.starts_with("this is what `tw-trace wheel --json` printed"), "{why}");
}

/// A run that says itself of which kernel it is.
fn read(run: &str) -> Result<Measured, String> {
    lines::read(Lines::new(run.as_bytes()), lines::Header::Needed)
}

fn compared(command: &str, run: &str) -> Report {
    let args = args(command);
    let measured = lines::read(Lines::new(run.as_bytes()), header(&args)).expect("a run");
    report(&args, Some(&measured)).expect("a comparison")
}

fn causes(report: &Report) -> Vec<&'static str> {
    report.comparison.iter().flat_map(|comparison| &comparison.departures).map(|found| found.cause).collect()
}

#[test]
fn a_run_that_is_as_predicted_departs_by_its_lateness_only() {
    let report = compared("", &run(&expiries(), &Summary::default()));
    assert_eq!(causes(&report), ["late_softirq"]);
    assert_eq!((report.inputs.kernel.as_str(), report.inputs.tick.hz), ("6.12.1", 250));
    assert!(report.inputs.load.rate.is_some_and(|rate| (rate - 50.0).abs() < 0.1));
    let comparison = report.comparison.as_ref().expect("a comparison");
    assert_eq!((comparison.placed, comparison.misplaced), (1_000, 0));
    assert_eq!(comparison.bursts.iter().map(|(size, count)| size * count).sum::<u64>(), 1_000);
    let measured = comparison.measured.expect("durations");
    for (measured, percent) in [(measured.p50_ns, 50), (measured.p90_ns, 90), (measured.p99_ns, 99)] {
        assert!(measured.abs_diff(report.prediction.durations.percentile(percent)) < SECOND / 20);
    }
    let text = text::text(&report);
    for expected in
        ["PREDICTED", "1000 of 1000 timers sat in the very slot", "◆", "- late softirq: ", "(--rate)"]
    {
        assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
    }
}

#[test]
fn a_vendors_timeout_is_told_until_it_is_given() {
    let mut exits = expiries();
    for exit in &mut exits {
        exit.timeout_jiffies = 7_500;
        exit.duration_ns -= 30 * SECOND;
        exit.since_arming_ns -= 30 * SECOND;
        exit.head.mono_ns -= 30 * SECOND;
    }
    let run = run(&exits, &Summary::default());
    assert_eq!(causes(&compared("", &run)), ["other_timeout", "late_softirq", "outside_bounds"]);
    assert_eq!(causes(&compared("--timeout 30s", &run)), ["late_softirq"]);
}

#[test]
fn rearms_early_ends_and_other_wheels_are_told() {
    let mut exits = expiries();
    exits[500].rearms = 1;
    exits[500].duration_ns += 20 * SECOND;
    exits[600].wheel.bucket += 512;
    exits.push(made_up::early_exit(ExitReason::Reused, SECOND));
    let report = compared("--hz 1000", &run(&exits, &Summary { lost: 3, ..Summary::default() }));
    let expected = ["other_hz", "other_slot", "late_softirq", "rearmed", "outside_bounds", "lost"];
    assert_eq!(causes(&report), expected);
    let json = json::value(&report);
    let departures = json["compare"]["departures"].as_array().expect("departures");
    let rearmed = departures.iter().find(|found| found["cause"] == "rearmed").expect("a re-arm");
    assert_eq!(rearmed["sockets"], 1);
    assert!(rearmed["text"].as_str().is_some_and(|text| text.contains("20.000 s")), "{rearmed}");
}

/// A summary of so many ends, all of them after 61 s.
fn summary() -> Summary {
    let at = 61 * SECOND;
    let mut exited = [0; 8];
    exited[ExitReason::Expired as usize] = 90;
    exited[ExitReason::Reused as usize] = 10;
    let spread =
        Spread { count: 90, min_ns: at, max_ns: at, p50_ns: at, p90_ns: at, p99_ns: at, p999_ns: at };
    Summary {
        exited: Some(exited),
        rearms: Some(2),
        elapsed_ns: 90 * SECOND,
        duration: Some(spread),
        bars: bars(&[(at, 90)]),
        ..Summary::default()
    }
}

#[test]
fn a_summary_alone_will_do() {
    let run = run(&[], &summary());
    let only = run.lines().last().expect("a summary");
    let report = compared("--kernel 6.12 --hz 250 --rate 10", only);
    assert_eq!(causes(&report), ["rearmed", "ended_early"]);
    let json = json::value(&report);
    assert_eq!(
        (&json["compare"]["of"], &json["compare"]["duration_ns"]["p50"]),
        (&"all".into(), &(61 * SECOND).into())
    );
    assert_eq!(json["compare"]["histogram"][0][1], 90);
}

/// This machine's kernel and HZ are not those of a run from anywhere.
#[test]
fn a_run_without_its_header_needs_kernel_and_hz() {
    let whole = run(&expiries(), &Summary::default());
    let headless = &whole[whole.find('\n').expect("lines") + 1..];
    let why = read(headless).err().expect("no header");
    assert!(why.starts_with("line 1 comes before any header") && why.contains("--kernel and --hz"), "{why}");
    let report = compared("--kernel 6.12 --hz 250", headless);
    assert_eq!((causes(&report), report.assumed.len()), (vec!["late_softirq"], 1));
    // What comes before a header is of another run, whatever the command line says.
    let args = args("--kernel 6.12 --hz 250");
    let both = format!("{headless}{whole}");
    let why = lines::read(Lines::new(both.as_bytes()), header(&args)).err().expect("two runs");
    assert!(why.contains("begins a second run (the first begins in line 1)"), "{why}");
}

#[test]
fn a_header_of_no_kernel_is_refused() {
    let whole = run(&expiries(), &Summary::default());
    let why = read(&whole.replacen("\"hz\":250", "\"hz\":1000", 1)).err().expect("no such tick");
    assert!(why.starts_with("line 1: the header says HZ=1000 with ticks of 4000000 ns"), "{why}");
}

#[test]
fn a_run_that_was_cut_off_will_do_and_what_is_no_run_will_not() {
    let whole = run(&expiries(), &Summary::default());
    let cut = &whole[..whole.len() * 3 / 4];
    assert!(read(cut).is_ok_and(|measured| measured.exits > 500 && measured.summary.is_none()));
    let damaged = whole.replacen("\"reason\":\"expired\"", "\"reason\":expired", 1);
    for (no_run, why) in [
        ("", "neither"),
        ("hello\n", "line 1"),
        ("{\"a\":1}\n", "line 1 is no event"),
        (&whole[..whole.find('\n').expect("lines") + 1], "neither"),
        (&damaged, "line 2, column "),
    ] {
        let error = read(no_run).err().expect("no run");
        assert!(error.contains(why) && error.contains("trace --json"), "{error}");
    }
    let long = vec![b'x'; 5 << 20];
    assert!(
        lines::read(Lines::new(long.as_slice()), lines::Header::Needed)
            .is_err_and(|error| error.contains("4 MiB"))
    );
}

#[test]
fn keys_may_come_in_any_order() {
    let sorted: String = run(&expiries(), &Summary::default())
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON").to_string() + "\n")
        .collect();
    assert_eq!(read(&sorted).expect("a run").exits, 1_000);
}

#[test]
fn what_nobody_closes_cannot_be_predicted() {
    let error = |line: &str| report(&args(line), None).err().expect("an error");
    assert!(error("--kernel 6.12 --hz 250").is::<Usage>());
    assert!(error("--kernel 6.12 --hz 250 --rate 0.001 --duration 1s").is::<Usage>());
}

//! `tw-trace wheel` as a program, as far as it needs no privilege: saved runs, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[path = "common/schema.rs"]
mod schema;

const SCHEMA: &str = include_str!("../../docs/wheel.schema.json");

fn saved() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runs/wheel.jsonl")
}

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tw-trace")).arg("wheel").args(words).output().expect("tw-trace runs")
}

/// Exit code 2, and these words.
#[track_caller]
fn assert_refused(words: &[&str], said: &str) {
    let refused = run(words);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(said), "{stderr}");
    assert!(refused.stdout.is_empty());
}

#[test]
fn the_saved_run_is_what_the_schema_promises() {
    let validator = schema::validator_of(SCHEMA);
    let text = fs::read_to_string(saved()).expect("the saved run");
    let lines: Vec<_> = text.lines().map(|line| schema::check(&validator, line)).collect();
    assert_eq!(lines.first().map(|line| &line["event"]), Some(&"header".into()));
    let last = lines.last().expect("a line");
    assert_eq!((&last["event"], &last["balanced"]), (&"summary".into(), &true.into()));
    // The events' schema is another one.
    assert!(lines.iter().skip(1).all(|line| !schema::validator().is_valid(line)));
}

#[test]
fn what_is_no_saved_run_is_refused_by_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let text = fs::read_to_string(saved()).expect("the saved run");
    let header = text.lines().next().expect("a header");
    assert_refused(&["--from", &file("empty", "")], "it is empty; save a run with");
    assert_refused(&["--from", &file("text", "hello\n")], "line 1, column 1: ");
    assert_refused(&["--from", &file("model", "{\"event\":\"model\"}\n")], "line 1: this is no line of");
    assert_refused(&["--from", &file("state", &format!("{header}\n{{\"event\":\"wheel\"}}\n"))], "line 2: ");
    let min = text.replace("\"min\":", "\"min\":9999999999999").replace("00000:", "");
    assert_refused(&["--from", &file("min", &min)], "this is no line of");
    let headless = text.lines().skip(1).map(|line| format!("{line}\n")).collect::<String>();
    assert_refused(&["--from", &file("headless", &headless)], "line 1 comes before any header");
    let hz = text.replacen("\"hz\":250", "\"hz\":1000", 1);
    assert_refused(&["--from", &file("hz", &hz)], "line 1: the header says HZ=1000 with ticks of 4000000 ns");
    let mark = format!("\u{feff}{text}");
    assert_refused(&["--from", &file("mark", &mark)], "byte order mark");
    let log = text.lines().map(|line| format!("2026-11-30T02:38:01Z {line}\n")).collect::<String>();
    assert_refused(&["--from", &file("log", &log)], "line 1: something stands before the JSON");
    assert_refused(&["--from", "/nonexistent"], "--from /nonexistent: No such file");
}

#[test]
fn what_timers_do_not_know_is_refused() {
    for filter in
        [["--pid", "1"], ["--comm", "x"], ["--state", "CLOSE"], ["--reason", "rst"], ["--cgroup", "/x"]]
    {
        assert_refused(&filter, "timers on the wheel are not told apart by this");
    }
    assert_refused(&["--from", "x", "--json"], "cannot be used with");
    assert_refused(&["--from", "x", "--port", "80"], "cannot be used with");
    assert_refused(&["--interval", "1ms"], "at least 10ms");
}

//! `tw-trace model` as a program: what docs/timer-wheel.md shows, what docs/model.schema.json promises, how fast it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const SCHEMA: &str = include_str!("../../docs/model.schema.json");
/// Set to write the outputs into the document instead of comparing them.
const BLESS: &str = "TW_TRACE_BLESS";

fn run(words: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut tw_trace = Command::new(env!("CARGO_BIN_EXE_tw-trace"));
    tw_trace.args(words).current_dir(root).output().expect("tw-trace runs")
}

fn doc() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/timer-wheel.md")
}

/// The document with the output of each command of its console blocks below it, as this program prints it.
fn as_it_should_be(text: &str) -> (String, usize) {
    let (mut out, mut in_block, mut commands) = (String::new(), false, 0);
    for line in text.lines() {
        match line {
            "```console" => in_block = true,
            "```" => in_block = false,
            _ => {}
        }
        let command = line.strip_prefix("$ tw-trace ").filter(|_| in_block);
        // What a command printed before is replaced.
        if !in_block || line == "```console" || command.is_some() {
            out += line;
            out.push('\n');
        }
        if let Some(command) = command {
            let printed = run(&command.split_whitespace().collect::<Vec<_>>());
            assert!(printed.status.success(), "{command}: {}", String::from_utf8_lossy(&printed.stderr));
            out += &String::from_utf8_lossy(&printed.stdout);
            commands += 1;
        }
    }
    (out, commands)
}

#[test]
fn the_document_shows_what_the_program_prints() {
    let text = fs::read_to_string(doc()).expect("the document");
    let (expected, commands) = as_it_should_be(&text);
    assert!(commands >= 10, "only {commands} commands found");
    if std::env::var_os(BLESS).is_some() {
        fs::write(doc(), expected).expect("the document can be written");
        return;
    }
    let differs = text.lines().zip(expected.lines()).position(|(one, other)| one != other);
    let at = differs.map_or(String::new(), |at| format!("line {}: {:?}", at + 1, expected.lines().nth(at)));
    assert!(text == expected, "docs/timer-wheel.md is not what tw-trace prints ({at}); {BLESS}=1 writes it");
}

fn json(line: &str) -> Value {
    let words: Vec<_> = ["model", "--json"].into_iter().chain(line.split_whitespace()).collect();
    let printed = run(&words);
    assert!(printed.status.success(), "{line}: {}", String::from_utf8_lossy(&printed.stderr));
    let value: Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("the schema can be used");
    let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{line}: {}", errors.join("\n"));
    value
}

#[test]
fn json_is_what_the_schema_promises() {
    for line in [
        "--kernel 6.12 --hz 250 --rate 0.5",
        "--kernel 4.4 --hz 300 --rate 10 --duration 30s",
        "--kernel 3.10 --hz 1000 --rate 100 --cpus 3 --seed 9",
        "--kernel 2.6.32 --hz 100 --burst 3 --timeout 2s",
        "--kernel 7 --hz 1000 --burst 1 --timeout 1year",
        "--rate 10",
    ] {
        json(line);
    }
    let minute = json("--kernel 3.10 --hz 250 --burst 1");
    assert_eq!(minute["duration_ns"]["min"], 60_000_000_000u64);
    assert_eq!(minute["duration_ns"]["max"], 60_000_000_000u64);
}

#[test]
fn a_run_is_compared_and_the_schema_still_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.json");
    let exit = r#"{"event":"tw_exit","mono_ns":161000000000,"reason":"expired","entered":"exact","substate":"TIME_WAIT",
        "duration_ns":61000000000,"since_arming_ns":61000000000,"rearms":0,"timeout_ns":60000000000,"lateness_ns":70000,
        "wheel":{"level":3,"expires":20000,"bucket":20480,"fired_cpu":0}}"#;
    let header = r#"{"event":"header","kernel":"6.12.1","hz":250,"tick_ns":4000000}"#;
    fs::write(&path, format!("{header}\n{}\n", exit.replace('\n', " "))).expect("a run");
    let value = json(&format!("--compare {}", path.display()));
    assert_eq!(value["inputs"]["kernel"], "6.12.1");
    assert_eq!((&value["compare"]["placed"], &value["compare"]["misplaced"]), (&1.into(), &0.into()));
    assert_eq!(value["compare"]["duration_ns"]["max"], 61_000_000_000u64);
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_to_do() {
    for (line, says) in [
        ("--kernel 6.12 --hz 250", "--rate"),
        ("--kernel six --rate 1", "6.12"),
        ("--kernel 4 --rate 1", "4.8"),
        ("--rate 0", "0.001"),
        ("--rate 1 --hz 1", "24"),
        ("--rate 1 --timeout 0s", "some time"),
        ("--compare /nowhere/run.json", "No such file"),
        ("--compare /dev/null", "trace --json"),
    ] {
        let words: Vec<_> = ["model"].into_iter().chain(line.split_whitespace()).collect();
        let printed = run(&words);
        let error = String::from_utf8_lossy(&printed.stderr);
        assert_eq!(printed.status.code(), Some(2), "{line}: {error}");
        assert!(error.contains(says), "{line}: {error}");
        assert!(printed.stdout.is_empty(), "{line}");
    }
}

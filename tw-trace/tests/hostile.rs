//! Damaged copies of what the parsers read: they end without a panic. The same mutations in every run.

use std::{fs, path::Path};

use tw_trace::hostile::PARSERS;

/// Damaged copies of each sample. `cargo fuzz` in `fuzz/` tries millions.
const COPIES: u64 = 400;

/// The sample that a parser takes; tests/kernels has the types of real kernels.
fn sample(parser: &str) -> Vec<u8> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let path = match parser {
        "btf" => return real_types(&tests.join("kernels")),
        "compare" => tests.join("samples/trace.jsonl"),
        "from" => tests.join("../../docs/runs/wheel.jsonl"),
        other => tests.join(format!("samples/{other}.txt")),
    };
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn real_types(folder: &Path) -> Vec<u8> {
    let mut files: Vec<_> =
        walk(folder).into_iter().filter(|path| path.to_string_lossy().contains("btf")).collect();
    files.sort();
    fs::read(files.first().expect("the types of a kernel")).expect("a file of the project")
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries =
        fs::read_dir(folder).expect("a folder of the project").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// `xorshift64`: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// Numbers that are one too many somewhere.
const NUMBERS: [&str; 9] = [
    "0",
    "1",
    "-1",
    "18446744073709551615",
    "9223372036854775807",
    "4611686018427387904",
    "1e308",
    "99999999999999999999999",
    "null",
];

fn damage(sample: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            return bytes;
        }
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] = random.below(256) as u8,
            1 => bytes.truncate(at),
            2 => {
                let end = (at + random.below(200)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => {
                let end = (at + random.below(400)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => replace_a_number(&mut bytes, at, random),
        }
    }
    bytes
}

/// The first number from here on becomes another one.
fn replace_a_number(bytes: &mut Vec<u8>, from: usize, random: &mut Random) {
    let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit).map(|n| from + n) else { return };
    let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    bytes.splice(start..start + length, NUMBERS[random.below(NUMBERS.len())].bytes());
}

#[test]
fn no_parser_panics_on_a_damaged_file() {
    for (name, parse) in PARSERS {
        let sample = sample(name);
        parse(&sample);
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for _ in 0..COPIES {
            parse(&damage(&sample, &mut random));
        }
    }
}

#[test]
fn a_bucket_due_in_another_age_is_refused() {
    let run = String::from_utf8(sample("from")).expect("a run");
    let mut line: serde_json::Value =
        serde_json::from_str(run.lines().find(|line| line.contains("\"event\":\"wheel\"")).expect("a look"))
            .expect("JSON");
    let bucket = |due: u64| serde_json::json!({"due": due, "due_in_ns": 0, "slot": 1, "timers": 1});
    line["wheels"] = serde_json::json!([
        {"cpu": 0, "level": 3, "granularity_ns": 2_048_000_000u64, "buckets": [bucket(2_305_843_009_300), bucket(0)]}
    ]);
    let text = format!("{}\n{line}\n", run.lines().next().expect("a header"));
    let lines = tw_trace::input::Lines::new(text.as_bytes());
    let error = tw_trace::cmd::wheel::saved::draw_all(lines, tw_trace::sink::Style::Plain, true)
        .expect_err("refused");
    assert!(error.starts_with("line 2: "), "{error}");
}

#[test]
fn two_runs_in_one_file_are_not_taken_for_one() {
    for (parser, begins) in [("compare", "--compare"), ("from", "--from")] {
        let run = String::from_utf8(sample(parser)).expect("a run");
        let lines = run.lines().count();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("twice.jsonl");
        fs::write(&path, format!("{run}{run}")).expect("writing a file");
        let command = if parser == "compare" { "model" } else { "wheel" };
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_tw-trace"))
            .args([command, begins])
            .arg(&path)
            .output()
            .expect("running tw-trace");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("line {} begins a second run", lines + 1)), "{said}");
    }
}

//! Counts what a `cargo test` run prints: passed, failed, skipped. Pure: lines in, numbers out.
//!
//! libtest knows no test that finds out while running that it cannot run here. Ours then print
//! `tw-trace-skip: <test>: <reason>` and pass, which counts as skipped here. One that could only not do a part of its
//! work prints `tw-trace-skip-part: <part>: <reason>`: it passed, and the part is skipped. `tw-trace-repeat: <test>:
//! <reason>` says that a test failed, and was tried once more.

use std::collections::{BTreeMap, BTreeSet};

const SKIP: &str = "tw-trace-skip: ";
const SKIP_PART: &str = "tw-trace-skip-part: ";
const REPEAT: &str = "tw-trace-repeat: ";
/// Bytes of what a failed test says that are shown behind its name.
const LONGEST_WHY: usize = 400;

#[derive(Default)]
pub(crate) struct Tally {
    passed: usize,
    failed: usize,
    ignored: usize,
    /// What is running now, and how many of its tests have finished.
    part: String,
    finished: usize,
    skips: BTreeSet<String>,
    skips_of_parts: BTreeSet<String>,
    failures: Vec<String>,
    repeats: Vec<String>,
    /// Whose output is being shown.
    shown: String,
    /// The lines that follow say why.
    panicked: bool,
    /// What each test that panicked last said.
    whys: BTreeMap<String, String>,
}

impl Tally {
    /// Takes a line; true when it begins the next part (a test binary or a crate's doc tests).
    pub(crate) fn line(&mut self, line: &str) -> bool {
        self.why(line);
        if let Some(skip) = line.strip_prefix(SKIP) {
            self.skips.insert(skip.trim_end().to_owned());
        } else if let Some(skip) = line.strip_prefix(SKIP_PART) {
            self.skips_of_parts.insert(skip.trim_end().to_owned());
        } else if let Some(repeat) = line.strip_prefix(REPEAT) {
            self.repeats.push(repeat.trim_end().to_owned());
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
            self.ignored += count(counts, "ignored");
        } else if let Some(test) = line.strip_prefix("test ") {
            self.test(test);
        } else if let Some(shown) = shown(line) {
            shown.clone_into(&mut self.shown);
        } else if let Some(part) = part(line) {
            self.part = part.to_owned();
            self.finished = 0;
            return true;
        }
        false
    }

    /// What a panic said ends with an empty line, or with a note of the runtime's.
    fn why(&mut self, line: &str) {
        if line.contains(" panicked at ") {
            self.panicked = true;
            self.whys.remove(&self.shown);
        } else if line.is_empty() || line.starts_with("note: ") {
            self.panicked = false;
        } else if self.panicked {
            let why = self.whys.entry(self.shown.clone()).or_default();
            why.extend(line.chars().chain([' ']).take(LONGEST_WHY.saturating_sub(why.len())));
        }
    }

    fn test(&mut self, test: &str) {
        let Some((name, outcome)) = test.rsplit_once(" ... ") else { return };
        self.finished += 1;
        if outcome == "FAILED" {
            self.failures.push(format!("{name} ({})", self.part));
        }
    }

    /// Takes what was not run by `cargo test`.
    pub(crate) fn add(&mut self, passed: usize, failures: Vec<String>, skips: Vec<String>) {
        self.passed += passed;
        self.failed += failures.len();
        self.failures.extend(failures);
        self.skips_of_parts.extend(skips);
    }

    /// Takes the run's end. One that fails without a failed test did not compile, or crashed.
    pub(crate) fn ended(&mut self, success: bool) {
        if !success && self.failed == 0 {
            self.failed = 1;
            let what = if self.part.is_empty() { "before the first test" } else { &self.part };
            self.failures.push(format!("the test run itself: {what} (see above)"));
        }
    }

    pub(crate) fn progress(&self) -> (&str, usize) {
        (if self.part.is_empty() { "compiling" } else { &self.part }, self.finished)
    }

    pub(crate) fn passed(&self) -> usize {
        self.passed.saturating_sub(self.skips.len())
    }

    pub(crate) fn failed(&self) -> usize {
        self.failed
    }

    pub(crate) fn skipped(&self) -> usize {
        self.ignored + self.skips.len() + self.skips_of_parts.len()
    }

    pub(crate) fn skips(&self) -> impl Iterator<Item = &str> {
        self.skips.iter().chain(&self.skips_of_parts).map(String::as_str)
    }

    /// With what each said last.
    pub(crate) fn failures(&self) -> impl Iterator<Item = String> {
        self.failures.iter().map(|failure| {
            let name = failure.split_once(" (").map_or(failure.as_str(), |(name, _)| name);
            self.whys
                .get(name)
                .map_or_else(|| failure.clone(), |why| format!("{failure}: {}", why.trim_end()))
        })
    }

    /// What had to be done more than once.
    pub(crate) fn repeated(&mut self, repeats: Vec<String>) {
        self.repeats.extend(repeats);
    }

    pub(crate) fn repeats(&self) -> &[String] {
        &self.repeats
    }
}

/// The number before a word in `ok. 3 passed; 0 failed; 1 ignored; …`.
fn count(counts: &str, word: &str) -> usize {
    let words: Vec<&str> = counts.split([' ', ';', '.']).collect();
    let number = words.windows(2).find(|pair| pair[1] == word).map(|pair| pair[0]);
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Whose output follows: `---- wheel::rounds_up stdout ----`.
fn shown(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// The part that cargo announces: `     Running tests/live.rs (…)`, `   Doc-tests tw_trace`.
fn part(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if line.starts_with("Doc-tests ") {
        return Some(line);
    }
    Some(line.strip_prefix("Running ")?.strip_suffix(')')?.rsplit_once(" (")?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(text: &str, success: bool) -> Tally {
        let mut tally = Tally::default();
        for line in text.lines() {
            tally.line(line);
        }
        tally.ended(success);
        tally
    }

    #[test]
    fn a_repetition_is_told_and_counts_as_nothing() {
        let tally =
            tally("tw-trace-repeat: a: it failed\ntest a ... ok\ntest result: ok. 1 passed; 0 failed", true);
        assert_eq!(
            (tally.passed(), tally.failed(), tally.repeats()),
            (1, 0, &["a: it failed".to_owned()][..])
        );
    }

    const TWO_PARTS: &str = "\
     Running unittests src/lib.rs (target/debug/deps/tw_trace-0123)

running 2 tests
test wheel::rounds_up ... ok
test wheel::slow ... ignored, takes an hour

test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running tests/live.rs (target/debug/deps/live-4567)
test expires ... ok
test killed ... ok
test reused ... FAILED

successes:

---- killed stdout ----
tw-trace-skip: killed: CAP_NET_ADMIN is missing

failures:

---- reused stdout ----

thread 'reused' (77) panicked at tests/live.rs:12:5:
assertion failed: reason
  left: expired
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 62.10s
";

    #[test]
    fn sums_over_all_parts() {
        let tally = tally(TWO_PARTS, false);
        assert_eq!((tally.passed(), tally.failed(), tally.skipped()), (2, 1, 2));
        assert_eq!(
            tally.failures().collect::<Vec<_>>(),
            ["reused (tests/live.rs): assertion failed: reason   left: expired"]
        );
        assert_eq!(tally.skips().collect::<Vec<_>>(), ["killed: CAP_NET_ADMIN is missing"]);
        assert_eq!(tally.progress(), ("tests/live.rs", 3));
    }

    #[test]
    fn a_skip_is_counted_once() {
        let line = "tw-trace-skip: killed: no\n";
        let text = format!("{line}{line}test result: ok. 1 passed; 0 failed; 0 ignored;\n");
        let tally = tally(&text, true);
        assert_eq!((tally.passed(), tally.skipped()), (0, 1));
    }

    #[test]
    fn a_part_that_was_skipped_leaves_its_test_passed() {
        let text = "tw-trace-skip-part: killed: no\ntest result: ok. 1 passed; 0 failed; 0 ignored;\n";
        let mut tally = tally(text, true);
        assert_eq!((tally.passed(), tally.skipped()), (1, 1));
        tally.add(5, vec!["a".to_owned()], vec!["b".to_owned(), "c".to_owned()]);
        assert_eq!((tally.passed(), tally.failed(), tally.skipped()), (6, 1, 3));
    }

    #[test]
    fn a_crash_is_a_failure() {
        let crashed =
            tally("     Running tests/live.rs (target/debug/deps/live-4567)\nrunning 9 tests\n", false);
        assert_eq!(crashed.failed(), 1);
        assert!(crashed.failures().next().is_some_and(|failure| failure.contains("tests/live.rs")));
        assert_eq!(tally("error: could not compile", false).failed(), 1);
    }

    #[test]
    fn doc_tests_are_a_part() {
        let tally = tally("   Doc-tests tw_trace\n", true);
        assert_eq!(tally.progress(), ("Doc-tests tw_trace", 0));
    }
}

//! What is wrong with a run that was saved with `--json`: all that read one say it alike.

use serde_json::Value;

use crate::{
    input::{Line, time},
    kernel::tick::Tick,
};

/// Why a line is no JSON: in a log, something else stands before each line.
pub fn no_json(line: &Line<'_>, error: &serde_json::Error) -> String {
    const EVENT: &[u8] = b"{\"event\":";
    let number = line.number;
    if line.bytes.trim_ascii().is_empty() {
        return format!("line {number}: it is empty");
    }
    let prefixed = !line.bytes.starts_with(b"{") && line.bytes.windows(EVENT.len()).any(|part| part == EVENT);
    if prefixed {
        return format!(
            "line {number}: something stands before the JSON, as a log puts it there; cut it off (`sed 's/^[^{{]*//' FILE`)"
        );
    }
    // The parser has seen one line and counts it as the first.
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    format!("line {number}, column {}: {what}", error.column())
}

/// The tick of the kernel that a run's header tells of. All times of the wheel follow from it.
pub fn tick(header: &Value) -> Result<Tick, String> {
    let (hz, ns) = (header["hz"].as_u64(), time(&header["tick_ns"]));
    match ns.and_then(Tick::from_ns) {
        Some(tick) if hz == Some(u64::from(tick.hz)) => Ok(tick),
        Some(_) | None => {
            let said = |number: Option<u64>| number.map_or("nothing".to_owned(), |number| number.to_string());
            Err(format!(
                "the header says HZ={} with ticks of {} ns, which no kernel has: it was changed or damaged, and times would \
                 be wrong; give the run as it was printed",
                said(hz),
                said(ns)
            ))
        }
    }
}

/// Nothing says of which kernel the lines are that come before any header.
pub fn no_header(number: u64) -> String {
    format!(
        "line {number} comes before any header, so neither the kernel nor its HZ is known; give the run from its first line on \
         (a log that was rotated has it in an older file)"
    )
}

/// Runs differ in kernel, HZ and clock: the figures of two in one are those of neither.
pub fn second_run(number: u64, first: u64) -> String {
    format!(
        "line {number} begins a second run (the first begins in line {first}), and figures of two runs in one would be \
         wrong; split the file there (`tail -n +{number}`) and give each part"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Lines;

    #[test]
    fn a_header_tells_a_tick_that_there_is() {
        let header = |hz: u32, ns: u64| tick(&serde_json::json!({ "hz": hz, "tick_ns": ns }));
        assert_eq!(header(250, 4_000_000).map(|tick| tick.hz), Ok(250));
        assert_eq!(header(300, 3_333_333).map(|tick| tick.hz), Ok(300));
        for (hz, ns) in [(1000, 4_000_000), (250, 0), (0, 0), (250, u64::MAX)] {
            assert!(header(hz, ns).is_err_and(|why| why.contains(&format!("HZ={hz}"))));
        }
        assert!(tick(&serde_json::json!({})).is_err_and(|why| why.contains("HZ=nothing")));
    }

    #[test]
    fn what_stands_before_json_is_named() {
        let said = |text: &str| {
            let mut lines = Lines::new(text.as_bytes());
            let line = lines.read().unwrap().unwrap();
            no_json(&line, &serde_json::from_slice::<Value>(line.bytes).unwrap_err())
        };
        assert!(
            said("Nov 30 02:38:01 node tw-trace[1]: {\"event\":\"header\"}").contains("as a log puts it")
        );
        assert_eq!(said("hello\n"), "line 1, column 1: expected value");
        assert_eq!(said("\r\n"), "line 1: it is empty");
    }
}

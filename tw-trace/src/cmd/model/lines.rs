//! Reads a run line by line, whatever its size, and parses only the lines that the model has to do with.

use std::io::{BufRead, Read as _};

use serde_json::Value;

use crate::model::Measured;

/// No line that tw-trace prints is nearly as long.
const LONGEST_LINE: u64 = 1 << 22;

/// The events that matter.
const WANTED: [&str; 3] = ["\"tw_exit\"", "\"header\"", "\"summary\""];

/// What the run measured; an error says what is wrong with it, and where.
pub(super) fn read(mut input: impl BufRead) -> Result<Measured, String> {
    const NOT_A_RUN: &str = "give what `tw-trace trace --json` printed";
    /// They have summaries too, but no times.
    const OTHERS: [(&str, &str); 2] = [("wheel", r#"{"event":"wheel""#), ("hist", r#"{"event":"hist""#)];
    let mut other = None;
    let mut measured = Measured::default();
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let read = (&mut input).take(LONGEST_LINE).read_until(b'\n', &mut line);
        if read.map_err(|error| error.to_string())? == 0 {
            break;
        }
        if line.len() as u64 == LONGEST_LINE && !line.ends_with(b"\n") {
            return Err(format!("line {number} is longer than 4 MiB; {NOT_A_RUN}"));
        }
        let text = String::from_utf8_lossy(&line);
        // A file that is no run shows in its first line.
        if number > 1 && !WANTED.iter().any(|event| text.contains(event)) {
            other = other.or_else(|| OTHERS.iter().find(|(_, begin)| text.starts_with(begin)));
            continue;
        }
        match serde_json::from_str::<Value>(&text) {
            Ok(value) if value["event"].is_string() => measured.line(&value),
            Ok(_) => return Err(format!("line {number} is no event; {NOT_A_RUN}")),
            // The last line of a run that was killed may be cut off.
            Err(_) if number > 1 && !line.ends_with(b"\n") => {}
            Err(error) => return Err(format!("line {number}: {error}; {NOT_A_RUN}")),
        }
    }
    if let (0, Some((view, _))) = (measured.exits, other) {
        return Err(format!(
            "this is what `tw-trace {view} --json` printed, which has no tw_exit lines; {NOT_A_RUN}"
        ));
    }
    if measured.exits == 0 && measured.summary.is_none() {
        return Err(format!("it has neither a tw_exit line nor a summary; {NOT_A_RUN}"));
    }
    Ok(measured)
}

//! Reads a run line by line, whatever its size, and parses only the lines that the model has to do with.

use std::io::BufRead;

use serde_json::Value;

use crate::{
    input::{Lines, second_run},
    model::Measured,
};

/// The events that matter.
const WANTED: [&str; 3] = ["\"tw_exit\"", "\"header\"", "\"summary\""];

pub(crate) const NOT_A_RUN: &str = "give what `tw-trace trace --json` printed";

/// What the run measured; an error says what is wrong with it, and where.
pub(crate) fn read<R: BufRead>(mut lines: Lines<R>) -> Result<Measured, String> {
    /// They have summaries too, but no times.
    const OTHERS: [(&str, &str); 2] = [("wheel", r#"{"event":"wheel""#), ("hist", r#"{"event":"hist""#)];
    let mut other = None;
    let mut measured = Measured::default();
    let mut header = None;
    while let Some(line) = lines.read().map_err(|why| format!("{why}; {NOT_A_RUN}"))? {
        let number = line.number;
        let text = String::from_utf8_lossy(line.bytes);
        // A file that is no run shows in its first line.
        if number > 1 && !WANTED.iter().any(|event| text.contains(event)) {
            other = other.or_else(|| OTHERS.iter().find(|(_, begin)| text.starts_with(begin)));
            continue;
        }
        match serde_json::from_str::<Value>(&text) {
            Ok(value) if value["event"] == "header" => {
                if let Some(first) = header {
                    return Err(second_run(number, first));
                }
                header = Some(number);
                measured.line(&value);
            }
            Ok(value) if value["event"].is_string() => measured.line(&value),
            Ok(_) => return Err(format!("line {number} is no event; {NOT_A_RUN}")),
            Err(_) if line.may_be_cut() => {}
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

//! Reads a run line by line, whatever its size, and parses only the lines that the model has to do with.

use std::io::BufRead;

use serde_json::Value;

use crate::{
    input::Lines,
    model::Measured,
    recorded::{self, no_header, no_json, second_run},
};

/// The events that matter.
const WANTED: [&str; 3] = ["\"tw_exit\"", "\"header\"", "\"summary\""];

pub(crate) const NOT_A_RUN: &str = "give what `tw-trace trace --json` printed";

/// Whether a run has to say itself of which kernel it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    Needed,
    /// The command line says it.
    Replaced,
}

/// What the run measured; an error says what is wrong with it, and where.
pub(crate) fn read<R: BufRead>(mut lines: Lines<R>, needed: Header) -> Result<Measured, String> {
    /// They have summaries too, but no times.
    const OTHERS: [(&str, &str); 2] = [("wheel", r#"{"event":"wheel""#), ("hist", r#"{"event":"hist""#)];
    let mut other = None;
    let mut measured = Measured::default();
    // The line of the header, and the first one of a run that has none.
    let (mut header, mut begun) = (None, None);
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
                if let Some(first) = header.or(begun) {
                    return Err(second_run(number, first));
                }
                header = Some(number);
                let tick = recorded::tick(&value).map_err(|why| format!("line {number}: {why}"))?;
                measured.header(&value, tick);
            }
            Ok(value) if value["event"].is_string() => {
                if header.is_none() && needed == Header::Needed {
                    return Err(format!("{}, or say both with --kernel and --hz", no_header(number)));
                }
                begun = begun.or(Some(number));
                measured.line(&value);
            }
            Ok(_) => return Err(format!("line {number} is no event; {NOT_A_RUN}")),
            Err(_) if line.may_be_cut() => {}
            Err(error) => return Err(format!("{}; {NOT_A_RUN}", no_json(&line, &error))),
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

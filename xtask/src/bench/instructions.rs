//! Instructions by connection for each view, in a guest whose clock counts them: what noise does not hide.

pub(crate) mod baseline;
pub(crate) mod guest;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::sh;
use crate::vm::Prepared;
use baseline::{Comparison, Counts};

/// The kernel line that the baseline is of.
pub(crate) const LINE: &str = "6.12";
/// Of one load: as many as give the same figure again to a percent.
pub(crate) const CONNECTIONS: u32 = 2000;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What tw-trace itself runs, which is compared.
    Own,
    /// That, and what the connection runs as a whole, in a load of its own.
    Whole,
}

/// Boots the guest and counts.
pub(crate) fn count(guest: &Prepared, connections: u32, extent: Extent, views: &[String]) -> Result<Counts> {
    let mut arguments = vec!["--connections".to_owned(), connections.to_string()];
    if extent == Extent::Whole {
        arguments.push("--whole".to_owned());
    }
    for view in views {
        arguments.extend(["--view".to_owned(), view.clone()]);
    }
    let answer = guest.run(&arguments, &mut tell)?;
    Counts::of(&answer.release, connections, &answer.lines)
}

/// Progress: what each load came to.
fn tell(line: &Value) {
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let figure = |name: &str| line[name].as_f64().unwrap_or_default();
    if line["untraced"].is_number() {
        eprintln!("bench: untraced: {:.0} instructions by connection", figure("untraced"));
    } else if line["view"].is_string() {
        eprintln!(
            "bench: {}, {}: {:.0} in programs, {:.0} in the tracer",
            text("view"),
            text("backend"),
            figure("programs"),
            figure("tracer")
        );
    }
}

/// For people.
pub(crate) fn text(counts: &Counts) -> String {
    let mut text = format!(
        "Linux {}, one emulated CPU, {} connections a load; instructions by connection, {:.0} untraced\n\n\
         {:40}  in programs  in the tracer    both  added on its way\n",
        counts.kernel, counts.connections, counts.untraced, ""
    );
    for (name, added) in &counts.views {
        text.push_str(&format!(
            "{name:40}  {:11.0}  {:>13}  {:6.0}  {:>16}\n",
            added.programs,
            added.tracer.map_or_else(|| "–".to_owned(), |tracer| format!("{tracer:.0}")),
            added.own(),
            added.connection.map_or_else(|| "–".to_owned(), |added| format!("{added:+.0}"))
        ));
    }
    text.push_str(
        "\nin programs       of its eBPF programs, by the kernel's own count\n\
         in the tracer     of its process, from when it was ready until it had caught up, kernel included\n\
         both              what is compared with the baseline\n\
         added on its way  what the connection ran more than the untraced one: the programs and how they are called\n",
    );
    text
}

fn file() -> PathBuf {
    sh::root().join("xtask/bench-baseline.json")
}

/// Keeps these figures as the baseline.
pub(crate) fn write(counts: &Counts) -> Result<()> {
    let file = file();
    fs::write(&file, format!("{:#}\n", counts.to_json()))
        .with_context(|| format!("writing {}", file.display()))?;
    println!("written: {}", file.display());
    Ok(())
}

/// How a count compares with the baseline.
pub(crate) enum Verdict {
    Same,
    /// With what differs, and what to do.
    Different(Vec<String>),
    /// Not comparable, and why.
    Skipped(String),
}

/// Counts what is compared, shows it, and compares it with the baseline: what `cargo xtask test` does.
pub(crate) fn check() -> Result<Verdict> {
    let file = file();
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let baseline = Counts::parse(&text)?;
    let guest = match Prepared::new(LINE) {
        Ok(guest) => guest,
        Err(why) => return Ok(Verdict::Skipped(format!("no guest can be booted here: {why:#}"))),
    };
    let counts = count(&guest, baseline.connections, Extent::Own, &[])?;
    println!("\n{}", self::text(&counts));
    if counts.kernel != baseline.kernel {
        println!(
            "compared with the baseline of Linux {} by the share of the untraced connection: {:.0} instructions there",
            baseline.kernel, baseline.untraced
        );
    }
    let with_remedy = |difference| format!("{difference}; if it is meant to be so: `{RENEW}`");
    Ok(match counts.compare(&baseline) {
        Comparison::Compared(differences) if differences.is_empty() => Verdict::Same,
        Comparison::Compared(differences) => {
            Verdict::Different(differences.into_iter().map(with_remedy).collect())
        }
        Comparison::BaselineDue(why) => Verdict::Skipped(format!("{why}: a new baseline is due, `{RENEW}`")),
    })
}

const RENEW: &str = "cargo xtask bench --instructions --write-baseline";

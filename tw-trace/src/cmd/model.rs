//! `tw-trace model`: what a kernel's timers make of closing connections, predicted; needs no privilege and no eBPF.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::cli::ModelArgs;
use crate::escape;
use crate::exit::Usage;
use crate::input::Lines;
use crate::kernel::tick::Tick;
use crate::model::compare::{Comparison, compare};
use crate::model::{Inputs, Load, Measured, Prediction, Version, predict, why};

pub(crate) mod json;
pub(crate) mod lines;
#[cfg(test)]
mod tests;
pub(crate) mod text;

/// Closes a second where nothing says how many: what is predicted of the durations does not depend on it since 4.1.
const EXAMPLE_RATE: f64 = 1_000.0;

/// All that the command tells.
pub struct Report {
    pub inputs: Inputs,
    pub prediction: Prediction,
    pub why: [String; 2],
    pub comparison: Option<Comparison>,
    /// What was assumed because nobody said it.
    pub assumed: Vec<String>,
}

/// The command: the prediction on standard output.
pub fn model(args: &ModelArgs) -> Result<()> {
    let measured = args.compare.as_deref().map(|path| measured(path, header(args))).transpose()?;
    let report = report(args, measured.as_ref())?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.json {
        out.write_all(&escape::json(&json::value(&report)))?;
        writeln!(out)?;
    } else {
        out.write_all(escape::lines(&text::text(&report)).as_bytes())?;
    }
    out.flush().context("writing to standard output")
}

/// Whether a run is compared that does not say itself of which kernel it is.
fn header(args: &ModelArgs) -> lines::Header {
    match (&args.kernel, args.hz) {
        (Some(_), Some(_)) => lines::Header::Replaced,
        (_, None) | (None, _) => lines::Header::Needed,
    }
}

/// Predicts what the command line asks for; what it leaves open, the run says, or this machine.
pub(crate) fn report(args: &ModelArgs, measured: Option<&Measured>) -> Result<Report> {
    let mut assumed = Vec::new();
    let inputs = inputs(args, measured, &mut assumed)?;
    let prediction = predict(&inputs);
    if prediction.sockets == 0 {
        return Err(Usage("no connection is closed at this --rate within this --duration".to_owned()).into());
    }
    Ok(Report {
        why: why(&inputs, &prediction),
        comparison: measured.map(|measured| compare(&inputs, &prediction, measured)),
        inputs,
        prediction,
        assumed,
    })
}

fn inputs(args: &ModelArgs, measured: Option<&Measured>, assumed: &mut Vec<String>) -> Result<Inputs> {
    let of_run = || measured.and_then(|measured| measured.kernel.clone());
    let kernel = match args.kernel.clone().or_else(of_run) {
        Some(kernel) => kernel,
        None => {
            let kernel = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
            assumed.push(format!("the kernel of this machine, {kernel} (--kernel)"));
            kernel
        }
    };
    let version = Version::parse(&kernel).map_err(|error| Usage(format!("kernel {kernel:?}: {error}")))?;
    let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    Ok(Inputs {
        generation: version.generation(),
        kernel,
        tick: tick(args, measured, assumed)?,
        timeout_ns: nanos(args.timeout),
        load: Load { duration_ns: args.duration.map(nanos), ..load(args, measured, assumed)? },
        cpus: args.cpus,
        seed: args.seed,
    })
}

fn tick(args: &ModelArgs, measured: Option<&Measured>, assumed: &mut Vec<String>) -> Result<Tick> {
    let of_run = measured.and_then(|measured| measured.tick);
    match (args.hz, of_run) {
        // The kernel's own rounding: TICK_NSEC.
        (Some(hz), _) => Ok(Tick { ns: (1_000_000_000 + u64::from(hz) / 2) / u64::from(hz), hz }),
        (None, Some(tick)) => Ok(tick),
        (None, None) => {
            let tick =
                Tick::read().map_err(|error| Usage(format!("this machine's HZ: {error}; give --hz")))?;
            assumed.push(format!("the HZ of this machine, {} (--hz)", tick.hz));
            Ok(tick)
        }
    }
}

fn load(args: &ModelArgs, measured: Option<&Measured>, assumed: &mut Vec<String>) -> Result<Load> {
    let load = Load { rate: args.rate, burst: args.burst.unwrap_or(0), duration_ns: None };
    match measured {
        _ if load.rate.is_some() || load.burst > 0 => Ok(load),
        None => Err(Usage(
            "how many connections are closed: give --rate N (a second) or --burst N (at once)".to_owned(),
        )
        .into()),
        Some(measured) => {
            let of_run = measured.rate().map(|rate| rate.clamp(0.001, 1e9));
            match of_run {
                Some(rate) => assumed.push(format!("the run's rate, {rate:.1} closes a second (--rate)")),
                None => {
                    assumed.push(format!("{EXAMPLE_RATE} closes a second: the run does not tell (--rate)"));
                }
            }
            Ok(Load { rate: of_run.or(Some(EXAMPLE_RATE)), ..load })
        }
    }
}

/// The run in this file.
fn measured(path: &Path, header: lines::Header) -> Result<Measured> {
    let wrong = |why: String| Usage(format!("--compare {}: {why}", path.display()));
    let lines = Lines::of(path).map_err(|error| wrong(format!("{error}; {}", lines::NOT_A_RUN)))?;
    Ok(lines::read(lines, header).map_err(wrong)?)
}

//! The options of `tw-trace model`.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::Args;

use super::{LONGEST_RUN, duration};
use crate::model::Version;

/// More connections than any machine closes.
const MOST_CLOSED: u64 = 1_000_000_000_000;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tw-trace model --kernel 6.12 --hz 250 --rate 1000\n  tw-trace model --kernel 3.10 --hz \
    1000 --rate 100\n  tw-trace model --compare run.json"
)]
pub struct ModelArgs {
    /// Version of the kernel: before 4.1 its death row, 4.1 to 4.7 the cascading wheel, since 4.8 the timer wheel
    /// [default: this kernel, or that of the run]
    #[arg(long, value_name = "VERSION", value_parser = kernel)]
    pub kernel: Option<String>,
    /// Ticks a second (CONFIG_HZ) [default: this kernel's, or that of the run]
    #[arg(long, value_name = "HZ", value_parser = clap::value_parser!(u32).range(24..=4096))]
    pub hz: Option<u32>,
    /// Connections closed a second [default: that of the run]
    #[arg(long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
    /// Connections closed at once; with --rate, before it begins
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_CLOSED))]
    pub burst: Option<u64>,
    /// What the timer is asked for
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = timeout)]
    pub timeout: Duration,
    /// How long the rate lasts, beginning with no TIME_WAIT at all [default: for ever, and the steady state is told]
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "rate")]
    pub duration: Option<Duration>,
    /// CPUs that connections are closed on, all alike
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8192))]
    pub cpus: u32,
    /// Another seed is another moment of beginning; the same one gives the same figures
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Lay a measured run over the prediction: the file that `tw-trace trace --json` printed
    #[arg(long, value_name = "RUN.json")]
    pub compare: Option<PathBuf>,
    /// One JSON object instead of text, as docs/model.schema.json has it
    #[arg(long)]
    pub json: bool,
}

/// Kept as it was given; it is only looked at whether it is a version.
fn kernel(text: &str) -> Result<String, String> {
    Version::parse(text).map(|_| text.to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    const RANGE: RangeInclusive<f64> = 0.001..=1e9;
    match text.parse() {
        Ok(rate) if RANGE.contains(&rate) => Ok(rate),
        Ok(_) | Err(_) => Err("give closes a second, from 0.001 to 1000000000".to_owned()),
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(timeout) if timeout.is_zero() => Err("a timer is asked for some time".to_owned()),
        Ok(timeout) if timeout > LONGEST_RUN => Err("at most 10 years".to_owned()),
        Ok(timeout) => Ok(timeout),
        Err(error) => Err(format!("{error}; write it like 60s, 500ms or 1h")),
    }
}

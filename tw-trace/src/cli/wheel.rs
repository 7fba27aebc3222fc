//! The options of `tw-trace wheel`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{AttachArgs, FilterArgs, interval};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tw-trace wheel\n  tw-trace wheel --netns web --interval 2s\n  tw-trace wheel --json \
    --interval 1s --count 60 >wheel.json"
)]
pub struct WheelArgs {
    /// One JSON object a line: a header, one per interval, a summary
    #[arg(long)]
    pub json: bool,
    /// No summary at the end
    #[arg(short, long)]
    pub quiet: bool,
    /// Show what came together in this long, over and over
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = interval)]
    pub interval: Duration,
    /// Stop after N intervals
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    #[command(flatten)]
    pub attach: AttachArgs,
    /// Attach nothing: draw the run that was saved in FILE with --json
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "count", "duration", "backend", "btf", "interval", "pid", "comm", "cgroup", "netns", "local", "remote", "port", "family", "state", "reason"])]
    pub from: Option<PathBuf>,
    #[command(flatten)]
    pub filters: FilterArgs,
}

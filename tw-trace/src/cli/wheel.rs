//! The options of `tw-trace wheel`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{BackendChoice, FilterArgs, duration, interval};

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
    /// Stop after this long, like 30s or 5min [default: until Ctrl-C]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// How to reach the kernel: timers are told by trace events, so auto and tracepoint are the same
    #[arg(long, value_name = "BACKEND", default_value = "auto")]
    pub backend: BackendChoice,
    /// Read the kernel's types from FILE instead of /sys/kernel/btf/vmlinux
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Attach nothing: draw the run that was saved in FILE with --json
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "count", "duration", "backend", "btf", "interval", "pid", "comm", "cgroup", "netns", "local", "remote", "port", "family", "state", "reason"])]
    pub from: Option<PathBuf>,
    #[command(flatten)]
    pub filters: FilterArgs,
}

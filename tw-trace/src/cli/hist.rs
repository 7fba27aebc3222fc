//! The options of `tw-trace hist`.

use std::time::Duration;

use clap::{Args, ValueEnum, builder::RangedI64ValueParser};

use super::{AttachArgs, FilterArgs, duration, entries};

/// More often, and showing would cost more than counting.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// Keys have six kilobytes each.
const MOST_KEYS: i64 = 1 << 17;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tw-trace hist --duration 75s\n  tw-trace hist --of time-wait --by process --interval 10s\n  \
    tw-trace hist --netns web --json --interval 1s --count 60 >hist.json"
)]
pub struct HistArgs {
    /// Which times to count
    #[arg(long, value_name = "WHAT", default_value = "all")]
    pub of: Of,
    /// Count times in TIME_WAIT by this, too
    #[arg(long, value_name = "KEY")]
    pub by: Option<ByArg>,
    /// Keys that there is room for at once, 12 KB of kernel memory each: as many new ones can come in a second, and what has
    /// no room then is counted
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = keys(), requires = "by")]
    pub keys: u32,
    /// Keys that are shown: those that counted most
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = keys(), requires = "by")]
    pub top: u32,
    /// One JSON object a line: a header, one per interval, a summary
    #[arg(long)]
    pub json: bool,
    /// No summary at the end
    #[arg(short, long)]
    pub quiet: bool,
    /// Show what came in this long, over and over [default: all at the end]
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub interval: Option<Duration>,
    /// Stop after N intervals
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), requires = "interval")]
    pub count: Option<u64>,
    #[command(flatten)]
    pub attach: AttachArgs,
    /// Tell every event that is counted, too: what a test holds the distributions against
    #[arg(long, hide = true, requires = "json")]
    pub with_events: bool,
    #[command(flatten)]
    pub filters: FilterArgs,
    /// Time-wait sockets followed at once, at most 67108864 [default: tcp_max_tw_buckets with --netns, else by
    /// the machine's memory]
    #[arg(long, value_name = "N", value_parser = entries(), help_heading = "Sizes")]
    pub max_time_waits: Option<u32>,
    /// Full sockets followed at once, at most 67108864 [default: 131072, less under a memory limit]
    #[arg(long, value_name = "N", value_parser = entries(), help_heading = "Sizes")]
    pub max_sockets: Option<u32>,
}

/// What there are distributions of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Of {
    /// Of time-wait sockets: their time in TIME_WAIT by reason, in FIN_WAIT2, and how late their timers fired
    TimeWait,
    /// Of full sockets: their time in each TCP state
    Dwell,
    All,
}

/// What times in TIME_WAIT are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ByArg {
    /// Who closed the connection: name and process id
    Process,
    /// The cgroup of who closed it
    Cgroup,
    /// Remote address and port
    Remote,
    /// Remote address
    RemoteAddress,
    LocalPort,
    /// Why TIME_WAIT ended
    Reason,
}

fn keys() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=MOST_KEYS)
}

pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < SHORTEST_INTERVAL { Err("at least 10ms".to_owned()) } else { Ok(interval) }
}

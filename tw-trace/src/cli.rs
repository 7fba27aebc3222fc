//! The command line: one place for every option, its help, and what is refused before anything is looked at.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, builder::RangedI64ValueParser};
use tw_trace_common::{
    event::Kind,
    state::{ExitReason, TcpState},
};

use crate::{filter::End, kernel::mapping};

mod attach;
mod hist;
mod model;
mod wheel;

pub use attach::{AttachArgs, BackendChoice};
use hist::interval;
pub use hist::{ByArg, HistArgs, Of};
pub use model::ModelArgs;
pub use wheel::WheelArgs;

/// What is longer is a slip of the pen, and may be later than the clock can tell.
const LONGEST_RUN: Duration = Duration::from_secs(10 * 31_557_600);
/// Sockets that a map can be asked to hold: with 64 million of them it takes gigabytes.
const MOST_SOCKETS: i64 = 1 << 26;

/// Shows what the Linux kernel really does with TCP connections after close().
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Tell more on stderr; with a debug build of the kernel side, its log too
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// One line per event, as it happens
    Trace(Box<TraceArgs>),
    /// Distributions counted in the kernel: time in TIME_WAIT by reason, lateness, FIN_WAIT2, dwell per state
    Hist(Box<HistArgs>),
    /// Where time-wait timers sit on the timer wheel, when they fire, and how large the bursts are
    Wheel(Box<WheelArgs>),
    /// Predict how long TIME_WAIT lasts on a kernel under a load, and why; needs no root
    Model(ModelArgs),
    /// What this kernel supports, and what its TCP settings really do to TIME_WAIT
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Kinds of events to tell: state, tw_enter, tw_rearm, tw_exit, tw_overflow [default: all]
    #[arg(long, value_name = "KIND,…", value_delimiter = ',', value_parser = kind)]
    pub events: Vec<Kind>,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub filters: FilterArgs,
    #[command(flatten)]
    pub sizes: SizeArgs,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// Read the kernel's types from FILE (BTF, or a vmlinux) instead of /sys/kernel/btf/vmlinux
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// One JSON object a line: a header, the events, a summary
    #[arg(long)]
    pub json: bool,
    /// No summary at the end
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Stop after N events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    #[command(flatten)]
    pub attach: AttachArgs,
}

/// Every filter given must match.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Filters (all given ones must match)")]
pub struct FilterArgs {
    /// Connections of the process with this id, as `ps` shows it here
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// Connections of tasks with this name (at most 15 bytes)
    #[arg(long, value_name = "NAME", value_parser = comm)]
    pub comm: Option<String>,
    /// Connections of this cgroup itself, not those below it: a path like /system.slice/x.service, or an id
    #[arg(long, value_name = "CGROUP")]
    pub cgroup: Option<String>,
    /// Connections of this network namespace: an inode, a name as in `ip netns`, or a path
    #[arg(long, value_name = "INODE|NAME|PATH")]
    pub netns: Option<String>,
    /// Local address, prefix or port: 10.0.0.1, 10.0.0.0/8:443, [2001:db8::/32]:443, :443
    #[arg(long, value_name = "ADDR[/LEN][:PORT]")]
    pub local: Option<End>,
    /// Remote address, prefix or port, written like --local
    #[arg(long, value_name = "ADDR[/LEN][:PORT]")]
    pub remote: Option<End>,
    /// Local or remote port
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Address family of the socket (a v4-mapped connection is 6, as in ss)
    #[arg(long, value_name = "4|6")]
    pub family: Option<Family>,
    /// Changes from or to this state; TIME_WAIT and FIN_WAIT2 also take the time-wait events
    #[arg(long, value_name = "STATE,…", value_delimiter = ',', value_parser = state)]
    pub state: Vec<TcpState>,
    /// Ends of time-wait sockets: expired, reused, new_syn, rst, reset_sent, killed, netns_gone, unknown
    #[arg(long, value_name = "REASON,…", value_delimiter = ',', value_parser = reason)]
    pub reason: Vec<ExitReason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Family {
    #[value(name = "4")]
    V4,
    #[value(name = "6")]
    V6,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Sizes")]
pub struct SizeArgs {
    /// Ring buffers between kernel and user space, all together; rounded up to a power of two [default: 32MiB, less
    /// where a cgroup's memory limit asks for it]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub ring_size: Option<u32>,
    /// Time-wait sockets followed at once, at most 67108864 [default: tcp_max_tw_buckets with --netns, else by
    /// the machine's memory]
    #[arg(long, value_name = "N", value_parser = entries())]
    pub max_time_waits: Option<u32>,
    /// Full sockets followed at once, at most 67108864 [default: 131072, less under a memory limit]
    #[arg(long, value_name = "N", value_parser = entries())]
    pub max_sockets: Option<u32>,
}

/// Bytes of the ring buffers, and places for full sockets, where no memory limit asks for less.
pub const DEFAULT_RING: u32 = 32 << 20;
pub const DEFAULT_SOCKETS: u32 = 1 << 17;

fn entries() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=MOST_SOCKETS)
}

fn kind(name: &str) -> Result<Kind, String> {
    Kind::ALL
        .iter()
        .copied()
        .find(|kind| kind.name() == name)
        .ok_or_else(|| format!("there is no such event; known: {}", names(Kind::ALL, Kind::name)))
}

fn state(name: &str) -> Result<TcpState, String> {
    match TcpState::from_name(name) {
        Some(TcpState::NewSynRecv | TcpState::BoundInactive) => {
            Err("no socket ever changes to or from this state, so nothing would be told".to_owned())
        }
        Some(state) => Ok(state),
        None => {
            Err(format!("there is no such TCP state; known: {}", names(&TcpState::ALL[..11], TcpState::name)))
        }
    }
}

fn reason(name: &str) -> Result<ExitReason, String> {
    ExitReason::from_name(name).ok_or_else(|| {
        format!("there is no such reason; known: {}", names(ExitReason::ALL, ExitReason::name))
    })
}

fn names<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> String {
    all.iter().map(|one| name(*one)).collect::<Vec<_>>().join(", ")
}

/// A task's name is cut by the kernel to 15 bytes: a longer one would match nothing.
fn comm(name: &str) -> Result<String, String> {
    match name.len() {
        0 => Err("a task's name is not empty".to_owned()),
        1..=15 => Ok(name.to_owned()),
        _ => Err(format!("the kernel keeps 15 bytes of a task's name; use --comm {}", truncated(name, 15))),
    }
}

fn truncated(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 30s, 5min or 1h"))?;
    if duration.is_zero() {
        Err("it must be longer than nothing; write it like 30s, 5min or 1h".to_owned())
    } else if duration > LONGEST_RUN {
        Err("at most 10 years; without --duration a run lasts until Ctrl-C".to_owned())
    } else {
        Ok(duration)
    }
}

/// A size of memory in bytes, rounded up to a power of two of at least a page.
fn bytes(text: &str) -> Result<u32, String> {
    const WRITE: &str = "write it like 64KiB or 32MiB";
    const LARGEST: u64 = 1 << 30;
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| WRITE.to_owned())?;
    let unit: u64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return Err(WRITE.to_owned()),
    };
    match number.checked_mul(unit) {
        Some(size @ 1..=LARGEST) => {
            u32::try_from(size.max(page_size()).next_power_of_two()).map_err(|_| "at most 1GiB".to_owned())
        }
        _ => Err("it must be from 1 byte to 1GiB".to_owned()),
    }
}

/// The kernel makes no ring smaller than a page.
fn page_size() -> u64 {
    mapping::page_size().map_or(4096, u64::from)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_become_powers_of_two() {
        assert_eq!(bytes("64KiB"), Ok(65536));
        assert_eq!(bytes("100k"), Ok(131_072));
        assert_eq!(bytes("1").map(u64::from), Ok(page_size()));
        assert_eq!(bytes("1g"), Ok(1 << 30));
        assert!(bytes("2G").is_err() && bytes("0").is_err() && bytes("x").is_err() && bytes("1TB").is_err());
    }

    #[test]
    fn what_can_match_nothing_is_refused() {
        assert!(state("new_syn_recv").unwrap_err().contains("nothing would be told"));
        assert!(state("TIMEWAIT").unwrap_err().contains("TIME_WAIT"));
        assert!(comm("a-name-of-16-byt").unwrap_err().contains("--comm a-name-of-16-by"));
        assert!(reason("gone").unwrap_err().contains("netns_gone"));
        assert!(duration("0s").is_err());
    }

    #[test]
    fn what_no_clock_or_memory_could_hold_is_refused() {
        assert_eq!(duration("10years"), Ok(LONGEST_RUN));
        assert!(duration("11years").unwrap_err().contains("at most 10 years"));
        assert!(duration("18000000000000000000s").unwrap_err().contains("at most 10 years"));
        for option in ["--max-time-waits", "--max-sockets"] {
            let parsed = |count: &str| Cli::try_parse_from(["tw-trace", "trace", option, count]);
            assert!(parsed("67108864").is_ok() && parsed("1").is_ok());
            assert!(parsed("67108865").is_err() && parsed("0").is_err());
        }
    }
}

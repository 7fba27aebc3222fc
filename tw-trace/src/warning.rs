//! Everything tw-trace warns about: what it is, what follows from it, and what to do next.

use std::{fmt, time::Duration};

use crate::{kernel::program::Extent, stderr};

/// One warning, for stderr. Each says what, then the consequence, then the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The ring buffer was full.
    RecordsLost { count: u64 },
    /// The socket map was full.
    SocketsLost { count: u64 },
    /// Sockets are gone, and no event told of it.
    EndsUnseen { count: u64 },
    /// A namespace's counters could not be read.
    NamespaceNotAuditable { inode: u32, why: String },
    /// Not every time-wait socket of before the start could be found.
    SeedIncomplete { why: String },
    /// Cgroups were asked about, and programs cannot tell them here.
    CgroupsUntold { why: String },
    /// The kernel refused a program that should have worked; with `-v`, all that its verifier said.
    Refused { what: String, whole_log: Option<String>, extent: Extent },
    /// Whether sockets went unseen could not be found out.
    Unchecked { why: String },
    /// Timers left the wheel, and no event said so.
    TimersLost { count: u64 },
    /// Sockets that had had no room were looked for again.
    Reseeded { found: u64 },
    /// The wall clock was set, or the machine slept.
    WallClockStepped { by: Duration, forward: bool },
    /// The run ended, but not everything adds up.
    Unbalanced { why: String },
}

impl Warning {
    /// Says it on stderr; where that is closed, there is nobody to tell.
    pub fn tell(&self) {
        stderr::line(format_args!("{self}"));
    }

    fn what(&self) -> String {
        match self {
            Self::RecordsLost { count } => format!("{count} records were lost: the ring buffer was full"),
            Self::SocketsLost { count } => {
                format!("the ends of {count} time-wait sockets cannot be told: their map was full")
            }
            Self::EndsUnseen { count } => {
                format!("{count} time-wait sockets are gone, and no event told of their ends")
            }
            Self::NamespaceNotAuditable { inode, why } => {
                format!("network namespace {inode} cannot be looked into: {why}")
            }
            Self::SeedIncomplete { why } => {
                format!("not all time-wait sockets of before the start were found: {why}")
            }
            Self::CgroupsUntold { why } => why.clone(),
            Self::Refused { what, whole_log: None, .. } => what.clone(),
            Self::Refused { what, whole_log: Some(log), .. } => {
                format!("the verifier's whole log:\n{log}\n{what}")
            }
            Self::Unchecked { why } => {
                format!("what is still followed could not be held against the kernel's list: {why}")
            }
            Self::TimersLost { count } => {
                format!("{count} timers are gone from the wheel, and no event told when or why")
            }
            Self::Reseeded { found } => format!(
                "there is room again for time-wait sockets that had none: {found} of them are still there and followed"
            ),
            Self::WallClockStepped { by, forward } => format!(
                "the wall clock went {} by {:.1} s against the kernel's (it was set, or the machine slept)",
                if *forward { "forward" } else { "back" },
                by.as_secs_f64()
            ),
            Self::Unbalanced { why } => format!("the figures do not add up: {why}"),
        }
    }

    const fn consequence(&self) -> &'static str {
        match self {
            Self::RecordsLost { .. } => {
                "their lines are missing; the counts of sockets, and the durations of all other lines, are right"
            }
            Self::SocketsLost { .. } | Self::EndsUnseen { .. } => {
                "they are in no duration and under no reason"
            }
            Self::NamespaceNotAuditable { .. } => "its figures are not checked against the kernel's counters",
            Self::SeedIncomplete { .. } => {
                "the others are not among the seeded, and their ends are counted as unknown_socket, without a \
                 line"
            }
            Self::Refused { .. } => {
                "the next best stands in for it, and the header says what that cannot see"
            }
            Self::CgroupsUntold { .. } => "--cgroup and --by cgroup do not tell processes apart",
            Self::Unchecked { .. } => "sockets that went unseen are among the living",
            Self::TimersLost { .. } => "they are in no burst, in no distribution and under no reason",
            Self::Reseeded { .. } => "they count as seeded, and their ends are told with an estimated start",
            Self::WallClockStepped { .. } => {
                "times of day of the second around it may be those of before; durations are right"
            }
            Self::Unbalanced { .. } => "do not rely on the counts of this run",
        }
    }

    const fn next_step(&self) -> &'static str {
        match self {
            Self::RecordsLost { .. } => "raise --ring-size, or tell less with --events or a filter",
            Self::SocketsLost { .. } | Self::Reseeded { .. } => "raise --max-time-waits",
            Self::NamespaceNotAuditable { .. } => "run as root, or with CAP_SYS_ADMIN and CAP_SYS_PTRACE",
            Self::SeedIncomplete { .. } => {
                "watch for more than a minute: by then they have ended, and all others were seen from the start"
            }
            Self::CgroupsUntold { .. } => "use --pid, --comm or --netns, or --by process",
            Self::Refused { extent: Extent::Kind, .. } => {
                "none, if this kernel locks function tracing down; else run as root"
            }
            Self::Refused { extent: Extent::Program, .. } => {
                "please report it with the output of `tw-trace doctor` and the log that -v shows"
            }
            Self::EndsUnseen { .. } | Self::TimersLost { .. } => {
                "see what the header says this kernel hides (blind_spots); if that does not explain it, please report it \
                 with the output of `tw-trace doctor`"
            }
            Self::WallClockStepped { .. } => "compare events by mono_ns across that moment",
            Self::Unbalanced { .. } => {
                "see what the header says this kernel hides (blind_spots); if that does not explain it, please report it \
                 with the output of `tw-trace doctor`"
            }
            Self::Unchecked { .. } => "please report it with the output of `tw-trace doctor`",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "warning: {}; {}. Next: {}.", self.what(), self.consequence(), self.next_step())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_says_what_the_consequence_and_the_next_step() {
        assert_eq!(
            Warning::RecordsLost { count: 512 }.to_string(),
            "warning: 512 records were lost: the ring buffer was full; their lines are missing; the counts of \
             sockets, and the durations of all other lines, are right. Next: raise --ring-size, or tell less with \
             --events or a filter."
        );
        let seeds = Warning::SeedIncomplete { why: "no permission".into() };
        assert!(seeds.to_string().contains("were found: no permission; the others are not among the seeded"));
    }
}

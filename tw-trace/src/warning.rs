//! Everything tw-trace warns about: what it is, what follows from it, and what to do next.

use std::fmt;

/// One warning, for stderr. Each says what, then the consequence, then the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The ring buffer was full.
    RecordsLost { count: u64 },
    /// The socket map was full or an end was missed.
    SocketsLost { count: u64 },
    /// kallsyms shows no addresses.
    KallsymsRestricted,
    /// A namespace's counters could not be read.
    NamespaceNotAuditable { inode: u32, why: String },
    /// A namespace went away during the run.
    NamespaceGone { inode: u32 },
    /// Not every time-wait socket of before the start could be found.
    SeedIncomplete { why: String },
    /// A backend was asked for, another one was taken for some probes.
    BackendMixed { wanted: String, taken: String },
    /// This kernel lacks a probe that the view could use.
    ProbeMissing { probe: String, lost: String },
    /// The kernel's struct has no such optional field.
    FieldMissing { field: String, lost: String },
    /// The wall clock was set during the run.
    ClockStepped { by_ns: i64 },
    /// cgroup v2 is not where it is looked for.
    NoCgroupNames { why: String },
    /// A record could not be decoded.
    BadRecord { why: String },
    /// A recording ends in the middle.
    RecordingTruncated { path: String, records: u64 },
    /// The map was made smaller than asked for.
    MapShrunk { wanted: u64, got: u64 },
    /// The run ended, but not everything adds up.
    Unbalanced { why: String },
}

impl Warning {
    fn what(&self) -> String {
        match self {
            Self::RecordsLost { count } => format!("{count} records were lost: the ring buffer was full"),
            Self::SocketsLost { count } => format!("the ends of {count} time-wait sockets cannot be told"),
            Self::KallsymsRestricted => "the addresses of kernel functions are hidden".to_owned(),
            Self::NamespaceNotAuditable { inode, why } => {
                format!("the counters of network namespace {inode} cannot be read: {why}")
            }
            Self::NamespaceGone { inode } => format!("network namespace {inode} went away during the run"),
            Self::SeedIncomplete { why } => format!("not all earlier time-wait sockets were found: {why}"),
            Self::BackendMixed { wanted, taken } => {
                format!("backend {wanted} cannot do all, {taken} helps out")
            }
            Self::ProbeMissing { probe, .. } => format!("this kernel has no {probe} to attach to"),
            Self::FieldMissing { field, .. } => format!("this kernel has no field {field}"),
            Self::ClockStepped { by_ns } => {
                format!("the wall clock was set by {:.3} s during the run", *by_ns as f64 / 1e9)
            }
            Self::NoCgroupNames { why } => format!("cgroup paths cannot be looked up: {why}"),
            Self::BadRecord { why } => format!("a record could not be read: {why}"),
            Self::RecordingTruncated { path, records } => {
                format!("{path} ends in the middle of a record, after {records} whole ones")
            }
            Self::MapShrunk { wanted, got } => {
                format!("the map of time-wait sockets has room for {got} instead of {wanted}")
            }
            Self::Unbalanced { why } => format!("the figures do not add up: {why}"),
        }
    }

    fn consequence(&self) -> String {
        match self {
            Self::RecordsLost { .. } => {
                "those lines are missing; counts and other durations are right".to_owned()
            }
            Self::SocketsLost { .. } => "they are in no duration and under no reason".to_owned(),
            Self::KallsymsRestricted => {
                "early ends get the reason unknown, and the trace-event backend cannot tell its timers"
                    .to_owned()
            }
            Self::NamespaceNotAuditable { .. } | Self::NamespaceGone { .. } => {
                "its figures are not checked against the kernel's".to_owned()
            }
            Self::SeedIncomplete { .. } => "the ends of the others show up as unknown_socket".to_owned(),
            Self::BackendMixed { .. } => "the records are the same, their cost may differ".to_owned(),
            Self::ProbeMissing { lost, .. } | Self::FieldMissing { lost, .. } => format!("not told: {lost}"),
            Self::ClockStepped { .. } => {
                "`ts` goes on from the clock of the start; durations are right".to_owned()
            }
            Self::NoCgroupNames { .. } => "`cgroup` is null".to_owned(),
            Self::BadRecord { .. } => "it is missing, and the run does not balance".to_owned(),
            Self::RecordingTruncated { .. } => "what came after, and its summary, are missing".to_owned(),
            Self::MapShrunk { .. } => "more sockets than that at a time are counted as lost".to_owned(),
            Self::Unbalanced { .. } => "do not rely on the counts of this run".to_owned(),
        }
    }

    fn next_step(&self) -> &'static str {
        match self {
            Self::RecordsLost { .. } => {
                "filter, or use a counting view (hist, wheel, ports), which streams nothing"
            }
            Self::SocketsLost { .. } | Self::MapShrunk { .. } => "filter to the sockets of interest",
            Self::KallsymsRestricted => "run with CAP_SYSLOG, or set kernel.kptr_restrict to 1 or 0",
            Self::NamespaceNotAuditable { .. } => "run with CAP_SYS_ADMIN in its user namespace",
            Self::NamespaceGone { .. } => "nothing is wrong; its exits say netns_gone",
            Self::SeedIncomplete { .. } => "start a minute earlier, then all sockets are ones that were seen",
            Self::BackendMixed { .. } | Self::ProbeMissing { .. } => {
                "see `tw-trace doctor` for the whole plan"
            }
            Self::FieldMissing { .. } => "nothing to be done on this kernel",
            Self::ClockStepped { .. } => "compare by `mono_ns`",
            Self::NoCgroupNames { .. } => "mount cgroup2 on /sys/fs/cgroup",
            Self::BadRecord { .. } => "please report it with the kernel's version",
            Self::RecordingTruncated { .. } => {
                "nothing to be done; the recorder was killed or the disk was full"
            }
            Self::Unbalanced { .. } => "please report it with the output of `tw-trace doctor`",
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
            "warning: 512 records were lost: the ring buffer was full; those lines are missing; counts and other \
             durations are right. Next: filter, or use a counting view (hist, wheel, ports), which streams \
             nothing."
        );
        let missing = Warning::FieldMissing { field: "sock.sk_cookie".into(), lost: "the cookie".into() };
        assert_eq!(
            missing.to_string(),
            "warning: this kernel has no field sock.sk_cookie; not told: the cookie. Next: nothing to be done on \
             this kernel."
        );
    }
}

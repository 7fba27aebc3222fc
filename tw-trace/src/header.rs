//! What a run says about itself before its first record.

use std::collections::BTreeMap;

/// The circumstances of a run: the first line of every output and of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// tw-trace's.
    pub version: String,
    /// The kernel's release, as uname(1) prints it.
    pub kernel: String,
    pub hz: u32,
    /// Nanoseconds of a jiffy; at HZ values that do not divide a second, not exactly 1/HZ.
    pub tick_ns: u64,
    /// `fentry`, `kprobe`, `tracepoint`, or which mix of them.
    pub backend: String,
    /// The programs attached for this view.
    pub programs: Vec<String>,
    /// What this backend cannot see on this kernel, one sentence each.
    pub blind_spots: Vec<String>,
    /// What stands in for what this kernel does not have or refused, one sentence each.
    pub replaced: Vec<String>,
    /// The TCP settings that matter to TIME_WAIT, by name.
    pub sysctls: BTreeMap<String, String>,
    /// The filters of this run, as given.
    pub filters: Vec<String>,
    /// Nanoseconds from CLOCK_MONOTONIC to CLOCK_REALTIME at the start.
    pub realtime_offset_ns: i64,
    /// CLOCK_MONOTONIC at the start.
    pub started_mono_ns: u64,
}

impl Header {
    /// The wall clock of a CLOCK_MONOTONIC time, in nanoseconds since 1970; never before 1970.
    ///
    /// The offset is looked at again while the run goes on (`WallClock`).
    pub fn realtime_ns(&self, mono_ns: u64) -> u64 {
        mono_ns.saturating_add_signed(self.realtime_offset_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_is_monotonic_time_plus_the_offset() {
        let header = Header { realtime_offset_ns: 1_700_000_000_000_000_000, ..Header::default() };
        assert_eq!(header.realtime_ns(5), 1_700_000_000_000_000_005);
        let early = Header { realtime_offset_ns: -10, ..Header::default() };
        assert_eq!(early.realtime_ns(5), 0);
    }
}

//! What a run measured, added up from the lines that `trace --json` printed. Size does not grow with the run.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::collector::{Durations, Spread};
use crate::input::{count, time};
use crate::kernel::tick::Tick;
use crate::wheel::modern::Wheel;

/// Timeouts that are nearest to the same multiple of this are one.
const UNIT_NS: u64 = 100_000_000;
/// Different timeouts that are told apart.
const MOST_TIMEOUTS: usize = 8;
/// Significant digits of the durations: some milliseconds at a minute.
const DIGITS: u8 = 4;

/// A run, as far as the model has to do with it.
pub struct Measured {
    pub kernel: Option<String>,
    /// As the header has it.
    pub tick: Option<Tick>,
    /// Exit lines; 0 when the run told its summary only.
    pub exits: u64,
    /// Exits whose time in TIME_WAIT is not exactly known, or that never were in it.
    pub undated: u64,
    pub ends: Ends,
    pub expired: Durations,
    pub lateness: Durations,
    /// Timers that their slot's jiffy was compared of, and those that sat elsewhere than the model says.
    pub placed: u64,
    pub misplaced: u64,
    pub rearmed: u64,
    /// The longest time that a socket had lived when its timer was last restarted.
    pub longest_rearm_ns: u64,
    /// Expired timers by what they asked for, in units of [`UNIT_NS`].
    timeouts: BTreeMap<u64, u64>,
    /// First and last close() of those that expired.
    closed_ns: Option<(u64, u64)>,
    bursts: BTreeMap<u64, Burst>,
    sizes: BTreeMap<u64, u64>,
    pub summary: Option<Totals>,
}

/// Exits by reason.
pub type Ends = BTreeMap<String, u64>;

/// Sockets that a CPU fired for one slot.
#[derive(Clone, Copy)]
struct Burst {
    bucket: u64,
    count: u64,
}

/// The figures of the summary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub entered: u64,
    pub elapsed_ns: u64,
    pub rearms: u64,
    pub lost: u64,
    pub ends: Ends,
    /// Of all ends, not of expiry alone.
    pub durations: Option<Spread>,
    /// Upper ends of bars with their counts.
    pub bars: Vec<(u64, u64)>,
}

impl Default for Measured {
    fn default() -> Self {
        Self {
            kernel: None,
            tick: None,
            exits: 0,
            undated: 0,
            ends: Ends::new(),
            expired: Durations::new(DIGITS),
            lateness: Durations::new(DIGITS),
            placed: 0,
            misplaced: 0,
            rearmed: 0,
            longest_rearm_ns: 0,
            timeouts: BTreeMap::new(),
            closed_ns: None,
            bursts: BTreeMap::new(),
            sizes: BTreeMap::new(),
            summary: None,
        }
    }
}

impl Measured {
    /// Takes note of the header, whose tick is this.
    pub fn header(&mut self, header: &Value, tick: Tick) {
        self.kernel = header["kernel"].as_str().map(str::to_owned);
        self.tick = Some(tick);
    }

    /// Takes note of one line after it.
    pub fn line(&mut self, line: &Value) {
        match line["event"].as_str() {
            Some("tw_exit") => self.exit(line),
            Some("summary") => self.summary = Some(totals(line)),
            Some(_) | None => {}
        }
    }

    fn exit(&mut self, line: &Value) {
        self.exits += 1;
        *self.ends.entry(line["reason"].as_str().unwrap_or("unknown").to_owned()).or_default() += 1;
        if line["reason"] != "expired" {
            return;
        }
        let exact = line["entered"] == "exact" && line["substate"] != "FIN_WAIT2";
        let Some(duration_ns) = number(line, "duration_ns").filter(|_| exact) else {
            self.undated += 1;
            return;
        };
        self.expired.add(duration_ns);
        if let Some(ns) = number(line, "lateness_ns") {
            self.lateness.add(ns);
        }
        if number(line, "rearms").is_some_and(|rearms| rearms > 0) || line["rearm_hidden"] == true {
            self.rearmed += 1;
            let since = number(line, "since_arming_ns").unwrap_or(duration_ns);
            self.longest_rearm_ns = self.longest_rearm_ns.max(duration_ns.saturating_sub(since));
        }
        if let Some(ended_ns) = number(line, "mono_ns") {
            let closed = ended_ns.saturating_sub(duration_ns);
            let (first, last) = self.closed_ns.unwrap_or((closed, closed));
            self.closed_ns = Some((first.min(closed), last.max(closed)));
        }
        self.timer(line);
    }

    fn timer(&mut self, line: &Value) {
        let timeout_ns = number(line, "timeout_ns");
        if let Some(timeout_ns) = timeout_ns {
            let unit = timeout_ns.saturating_add(UNIT_NS / 2) / UNIT_NS;
            if self.timeouts.len() < MOST_TIMEOUTS || self.timeouts.contains_key(&unit) {
                *self.timeouts.entry(unit).or_default() += 1;
            }
        }
        let wheel = &line["wheel"];
        let (Some(expires), Some(bucket)) = (number(wheel, "expires"), number(wheel, "bucket")) else {
            return;
        };
        if let (Some(tick), Some(timeout_ns)) = (self.tick, timeout_ns) {
            let place = Wheel::new(tick.hz).place(expires, expires.wrapping_sub(timeout_ns / tick.ns));
            self.placed += 1;
            let same = place.bucket == bucket && number(wheel, "level") == Some(place.level.into());
            self.misplaced += u64::from(!same);
        }
        let cpu = number(wheel, "fired_cpu").unwrap_or(0);
        match self.bursts.get_mut(&cpu) {
            Some(burst) if burst.bucket == bucket => burst.count += 1,
            Some(_) | None => {
                if let Some(ended) = self.bursts.insert(cpu, Burst { bucket, count: 1 }) {
                    *self.sizes.entry(ended.count).or_default() += 1;
                }
            }
        }
    }

    /// What timers asked for other than `timeout_ns`, with their counts.
    pub fn other_timeouts(&self, timeout_ns: u64) -> Vec<(u64, u64)> {
        let unit = timeout_ns.saturating_add(UNIT_NS / 2) / UNIT_NS;
        let others = self.timeouts.iter().filter(|(other, _)| **other != unit);
        others.map(|(other, count)| (other * UNIT_NS, *count)).collect()
    }

    /// Sizes of the bursts, with how many of each there were.
    pub fn burst_sizes(&self) -> Vec<(u64, u64)> {
        let mut sizes = self.sizes.clone();
        for burst in self.bursts.values() {
            *sizes.entry(burst.count).or_default() += 1;
        }
        sizes.into_iter().collect()
    }

    /// From the first close() to the last; None when that is not known.
    pub fn closing_ns(&self) -> Option<u64> {
        self.closed_ns.map(|(first, last)| last - first)
    }

    /// Closes a second, for what the run knows of them.
    pub fn rate(&self) -> Option<f64> {
        const SECOND: f64 = 1e9;
        let expired = self.expired.spread().map_or(0, |spread| spread.count);
        let (sockets, ns) = match (self.closing_ns(), &self.summary) {
            (Some(ns), _) => (expired, ns),
            (None, Some(totals)) => (totals.entered, totals.elapsed_ns),
            (None, None) => return None,
        };
        (sockets > 0).then(|| sockets as f64 / (ns as f64 / SECOND).max(1.0))
    }

    /// Ends by reason: from the summary where there is one, for nothing is missing there.
    pub fn all_ends(&self) -> &Ends {
        self.summary.as_ref().map_or(&self.ends, |totals| &totals.ends)
    }
}

fn totals(line: &Value) -> Totals {
    let of = |key| number(line, key).unwrap_or(0);
    let exited = line["exited"].as_object().into_iter().flatten();
    let duration = &line["duration_ns"];
    let at = |key| number(duration, key).unwrap_or(0);
    let bar = |bar: &Value| Some((time(&bar[0])?, count(&bar[1])?));
    let bars: Vec<_> = line["histogram"].as_array().into_iter().flatten().filter_map(bar).collect();
    Totals {
        entered: of("entered"),
        elapsed_ns: of("elapsed_ns"),
        rearms: of("rearms"),
        lost: of("lost"),
        ends: exited.filter_map(|(reason, number)| Some((reason.clone(), count(number)?))).collect(),
        durations: duration.is_object().then(|| Spread {
            count: bars.iter().map(|(_, count)| count).sum(),
            min_ns: at("min"),
            max_ns: at("max"),
            p50_ns: at("p50"),
            p90_ns: at("p90"),
            p99_ns: at("p99"),
            p999_ns: at("p999"),
        }),
        bars,
    }
}

/// What a file says is bounded, so that sums of it do not overflow.
fn number(object: &Value, key: &str) -> Option<u64> {
    time(&object[key])
}

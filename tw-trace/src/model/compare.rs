//! A measured run laid over a prediction: where they differ, and what made the difference.

use super::{Inputs, Measured, Prediction};
use crate::collector::Spread;
use crate::sink::fmt::{duration, round};

/// Slots that the closes should spread over before every part of a slot is hit alike.
const ENOUGH_SLOTS: u64 = 4;

/// What a run and its prediction come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What the measured durations are of.
    pub of: Of,
    pub measured: Option<Spread>,
    /// Measured durations in ascending order, with counts.
    pub values: Vec<(u64, u64)>,
    /// Sizes of the measured bursts, with how many of each.
    pub bursts: Vec<(u64, u64)>,
    /// Timers that were held against the model one by one, and those that it would have put elsewhere.
    pub placed: u64,
    pub misplaced: u64,
    pub departures: Vec<Departure>,
}

/// Which sockets the measured durations are those of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Expired,
    /// The run has no exit lines; its summary mixes all reasons.
    AllEnds,
}

/// Something that reality does and the prediction does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    pub cause: &'static str,
    /// How many it concerns; None where that cannot be counted.
    pub sockets: Option<u64>,
    pub text: String,
}

/// The comparison.
pub fn compare(inputs: &Inputs, prediction: &Prediction, measured: &Measured) -> Comparison {
    let (of, spread, values) = match (measured.expired.spread(), &measured.summary) {
        (None, Some(totals)) if measured.exits == 0 => {
            (Of::AllEnds, totals.durations, bar_values(&totals.bars))
        }
        (spread, _) => (Of::Expired, spread, measured.expired.values()),
    };
    let mut departures = Vec::new();
    departures.extend(other_hz(inputs, measured));
    departures.extend(other_timeouts(inputs, measured));
    departures.extend(misplaced(measured));
    departures.extend(late(measured));
    departures.extend(rearmed(measured));
    departures.extend(ended_early(measured));
    departures.extend(few_slots(prediction, measured));
    departures.extend(outside(prediction, spread));
    departures.extend(unknown(measured));
    Comparison {
        of,
        measured: spread,
        values,
        bursts: measured.burst_sizes(),
        placed: measured.placed,
        misplaced: measured.misplaced,
        departures,
    }
}

/// Bars come with their upper ends, which no value reaches: a point just below stands for each.
fn bar_values(bars: &[(u64, u64)]) -> Vec<(u64, u64)> {
    bars.iter()
        .filter(|(_, count)| *count > 0)
        .map(|&(high, count)| (high.saturating_sub(1), count))
        .collect()
}

fn other_hz(inputs: &Inputs, measured: &Measured) -> Option<Departure> {
    let hz = measured.tick.map(|tick| tick.hz).filter(|hz| *hz != inputs.tick.hz)?;
    let text = format!("the run was at HZ={hz}, the prediction is for HZ={}", inputs.tick.hz);
    Some(Departure { cause: "other_hz", sockets: None, text })
}

fn other_timeouts(inputs: &Inputs, measured: &Measured) -> Vec<Departure> {
    let others = measured.other_timeouts(inputs.timeout_ns).into_iter();
    others
        .map(|(timeout_ns, sockets)| Departure {
            cause: "other_timeout",
            sockets: Some(sockets),
            text: format!(
                "{sockets} timers asked for about {}, not for {}: a vendor's kernel with a TIME_WAIT of its own; \
                 predict it with --timeout",
                round(timeout_ns),
                round(inputs.timeout_ns)
            ),
        })
        .collect()
}

fn misplaced(measured: &Measured) -> Option<Departure> {
    (measured.misplaced > 0).then(|| Departure {
        cause: "other_slot",
        sockets: Some(measured.misplaced),
        text: format!(
            "{} of {} timers sat in another slot than the model's: this kernel's wheel is not the one that is modelled",
            measured.misplaced, measured.placed
        ),
    })
}

fn late(measured: &Measured) -> Option<Departure> {
    let late = measured.lateness.spread()?;
    Some(Departure {
        cause: "late_softirq",
        sockets: Some(late.count),
        text: format!(
            "the softirq came after the slot was due, and a burst takes its time: half of the timers fired up to {} \
             late, 99% up to {}, one {}",
            duration(late.p50_ns),
            duration(late.p99_ns),
            duration(late.max_ns)
        ),
    })
}

fn rearmed(measured: &Measured) -> Option<Departure> {
    let by_summary = measured.summary.as_ref().map_or(0, |totals| totals.rearms);
    if measured.rearmed > 0 {
        let after = match measured.longest_rearm_ns {
            0 => String::new(),
            ns => format!(", the last time up to {} after close()", duration(ns)),
        };
        let sockets = measured.rearmed;
        let text =
            format!("{sockets} had their timer restarted (by a late segment, or the FIN once more){after}");
        Some(Departure { cause: "rearmed", sockets: Some(measured.rearmed), text })
    } else if measured.exits == 0 && by_summary > 0 {
        let text = format!("timers were restarted {by_summary} times; the run has no lines that say whose");
        Some(Departure { cause: "rearmed", sockets: None, text })
    } else {
        None
    }
}

fn ended_early(measured: &Measured) -> Vec<Departure> {
    let early = measured.all_ends().iter().filter(|(reason, count)| *reason != "expired" && **count > 0);
    early
        .map(|(reason, &sockets)| Departure {
            cause: "ended_early",
            sockets: Some(sockets),
            text: format!("{sockets} ended before their timer fired: {reason}"),
        })
        .collect()
}

fn few_slots(prediction: &Prediction, measured: &Measured) -> Option<Departure> {
    let width_ns = prediction.timer.granularity_ns()?;
    let closing_ns = measured.closing_ns()?;
    (closing_ns < ENOUGH_SLOTS * width_ns).then(|| Departure {
        cause: "few_slots",
        sockets: None,
        text: format!(
            "all were closed within {}, and a slot is {} wide: when in a slot that was decides which part of the range \
             is seen",
            duration(closing_ns),
            round(width_ns)
        ),
    })
}

fn outside(prediction: &Prediction, spread: Option<Spread>) -> Option<Departure> {
    let (least, most) = prediction.timer.bounds_ns;
    let spread = spread?;
    // The moment of close() is known to the nanosecond, the jiffy that the timer counted from is not.
    let tolerance = prediction.timer.tick_ns;
    if spread.min_ns.saturating_add(tolerance) >= least && spread.max_ns <= most.saturating_add(tolerance) {
        return None;
    }
    let text = format!(
        "the shortest took {} and the longest {}, where the timer alone allows {} – {}",
        duration(spread.min_ns),
        duration(spread.max_ns),
        round(least),
        round(most)
    );
    Some(Departure { cause: "outside_bounds", sockets: None, text })
}

fn unknown(measured: &Measured) -> Vec<Departure> {
    let mut found = Vec::new();
    if measured.undated > 0 {
        let sockets = measured.undated;
        let text = format!(
            "{sockets} more expired, but not from a TIME_WAIT whose length is exactly known: left out"
        );
        found.push(Departure { cause: "undated", sockets: Some(sockets), text });
    }
    let lost = measured.summary.as_ref().map_or(0, |totals| totals.lost);
    if lost > 0 {
        let text = format!("the run lost {lost} records or sockets");
        found.push(Departure { cause: "lost", sockets: Some(lost), text });
    }
    found
}

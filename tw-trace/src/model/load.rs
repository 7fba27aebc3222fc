//! Closing connections as packets: how many, when, and for how long they are watched.

use super::random::Random;
use super::{Load, SECOND, Timer, Timing};

/// Packets that a load is divided into at most; half a million sort in a moment.
const MOST_PACKETS: u64 = 1 << 19;
/// Sockets that the figures of a steady state are taken from, at least.
const ENOUGH: f64 = 10_000.0;

/// Sockets that arrive at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) at_ns: u64,
    pub(super) count: u64,
}

/// How long a load lasts, and which part of it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// When the rate ends.
    pub(super) until_ns: u64,
    /// When the steady state begins, where one is asked for.
    pub(super) steady_from_ns: Option<u64>,
}

impl Span {
    pub(super) fn new(load: &Load, timer: &Timer) -> Self {
        let Some(rate) = load.rate else { return Self { until_ns: 0, steady_from_ns: None } };
        if let Some(until_ns) = load.duration_ns {
            return Self { until_ns, steady_from_ns: None };
        }
        let (warm_up_ns, cycle_ns) = cycle(timer);
        let enough_ns = (ENOUGH / rate * SECOND as f64) as u64;
        // Whole cycles, so that no part of one counts more than the others.
        let until_ns =
            warm_up_ns.saturating_add(enough_ns.div_ceil(cycle_ns).max(1).saturating_mul(cycle_ns));
        Self { until_ns, steady_from_ns: (load.burst == 0).then_some(warm_up_ns) }
    }

    /// Whether a socket that came then is among those told of.
    pub(super) fn counts(&self, arrived_ns: u64) -> bool {
        self.steady_from_ns.is_none_or(|from| (from..self.until_ns).contains(&arrived_ns))
    }
}

/// How long it takes until the load's beginning is forgotten, and after what time all repeats itself.
fn cycle(timer: &Timer) -> (u64, u64) {
    let ns = |jiffies: u64| jiffies.saturating_mul(timer.tick_ns);
    let longest = timer.bounds_ns.1;
    match timer.place {
        Timing::Wheel { granularity, .. } => (longest.saturating_add(ns(granularity)), ns(16 * granularity)),
        Timing::Exact => (longest.saturating_add(ns(1)), ns(1_000)),
        // Once around the row takes 8 periods, or 16 when every slot takes two.
        Timing::Slow { period, .. } => (ns(40 * period), ns(32 * period)),
        Timing::Recycle { width, .. } => (ns(64 * width), ns(64 * width)),
    }
}

/// The packets of the whole load, in order. Closes of a rate come evenly, each anywhere within its share of time.
pub(super) fn packets(load: &Load, span: &Span, random: &mut Random) -> Vec<Packet> {
    let mut packets = Vec::new();
    if load.burst > 0 {
        packets.push(Packet { at_ns: 0, count: load.burst });
    }
    let rate = load.rate.unwrap_or(0.0);
    let sockets = (rate * (span.until_ns as f64 / SECOND as f64)).round() as u64;
    let number = sockets.min(MOST_PACKETS);
    for index in 0..number {
        let share = |index: u64| (u128::from(sockets) * u128::from(index) / u128::from(number)) as u64;
        let fraction = (u128::from(index) << 32) + u128::from(random.below(1 << 32));
        let at_ns = ((u128::from(span.until_ns) * fraction) >> 32) / u128::from(number);
        packets.push(Packet { at_ns: at_ns as u64, count: share(index + 1) - share(index) });
    }
    packets
}

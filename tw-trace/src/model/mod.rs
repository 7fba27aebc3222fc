//! Predicts what a kernel's timers make of a load of closing connections. Pure: no clock, no I/O.
//!
//! Sockets are moved in packets, so that ten million cost no more than half a million.

pub mod compare;
mod distribution;
mod kernel;
mod load;
mod measured;
mod random;
mod simulate;
mod why;

pub use distribution::Distribution;
pub use kernel::{Generation, Version};
pub use measured::{Ends, Measured};
pub use why::why;

use crate::kernel::tick::Tick;
use crate::wheel::legacy::{Shape, Target};
use crate::wheel::modern::{Wheel, granularity};
use random::Random;

const SECOND: u64 = 1_000_000_000;

/// What the prediction is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// As it was given.
    pub kernel: String,
    pub generation: Generation,
    pub tick: Tick,
    pub timeout_ns: u64,
    pub load: Load,
    pub cpus: u32,
    pub seed: u64,
}

/// How connections are closed. At least one of rate and burst is there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Closes a second.
    pub rate: Option<f64>,
    /// Closes at once, at the beginning.
    pub burst: u64,
    /// How long the rate lasts; None is for ever, of which the steady state is told unless a burst came first.
    pub duration_ns: Option<u64>,
}

/// What will become of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    pub timer: Timer,
    /// Sockets that the durations are of.
    pub sockets: u64,
    /// Time in TIME_WAIT.
    pub durations: Distribution,
    pub population: Population,
    pub bursts: Bursts,
}

/// Living time-wait sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Population {
    /// On average; None where there is no steady state.
    pub steady: Option<u64>,
    pub peak: u64,
}

/// Sockets that end in the same jiffy on the same CPU (in the death row: in the same tick).
#[derive(Clone, Debug, PartialEq)]
pub struct Bursts {
    pub sizes: Distribution,
    /// Usual time from one to the next; None when there is but one.
    pub interval_ns: Option<u64>,
}

/// What the kernel makes of the timeout, before any load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    pub tick_ns: u64,
    pub timeout_jiffies: u64,
    pub place: Timing,
    /// No socket lasts shorter than the first, none longer than the second.
    pub bounds_ns: (u64, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// On this level, whose slots are this many jiffies wide; `clipped` when the wheel does not reach that far.
    Wheel { level: u8, granularity: u64, clipped: Clipped },
    /// In the very jiffy.
    Exact,
    /// This many slots ahead of a hand that moves every `period` jiffies at best.
    Slow { ahead: u64, period: u64 },
    /// Short slots of this many jiffies.
    Recycle { ticks: u64, width: u64 },
}

/// Whether a timeout is within the wheel's capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clipped {
    No,
    Yes,
}

impl Timer {
    pub fn new(generation: Generation, tick: Tick, timeout_ns: u64) -> Self {
        let jiffies = jiffies(timeout_ns, tick.hz);
        let (place, (least, most)) = match generation {
            Generation::Wheel => on_wheel(Wheel::new(tick.hz), jiffies),
            Generation::Cascading => (Timing::Exact, (jiffies.saturating_sub(1), jiffies)),
            Generation::DeathRow => on_death_row(Shape::new(tick.hz), jiffies),
        };
        let ns = |jiffies: u64| jiffies.saturating_mul(tick.ns);
        Self { tick_ns: tick.ns, timeout_jiffies: jiffies, place, bounds_ns: (ns(least), ns(most)) }
    }

    /// The width of a slot, where there are slots.
    pub const fn granularity_ns(&self) -> Option<u64> {
        match self.place {
            Timing::Wheel { granularity, .. } => Some(granularity * self.tick_ns),
            Timing::Exact => None,
            Timing::Slow { period, .. } => Some(period * self.tick_ns),
            Timing::Recycle { width, .. } => Some(width * self.tick_ns),
        }
    }
}

fn on_wheel(wheel: Wheel, jiffies: u64) -> (Timing, (u64, u64)) {
    let level = wheel.level(jiffies);
    let width = granularity(level);
    let timing = |clipped| Timing::Wheel { level, granularity: width, clipped };
    if jiffies < wheel.cutoff() {
        (timing(Clipped::No), (jiffies, jiffies + width))
    } else {
        (timing(Clipped::Yes), (wheel.cutoff() - width, wheel.cutoff()))
    }
}

fn on_death_row(shape: Shape, jiffies: u64) -> (Timing, (u64, u64)) {
    // A socket closed within a jiffy counts from that jiffy's beginning.
    match shape.target(jiffies) {
        Target::Slow(ahead) => {
            let timing = Timing::Slow { ahead: ahead as u64, period: shape.period };
            (timing, shape.bounds(ahead))
        }
        Target::Recycle(ticks) => {
            let (ticks, width) = (ticks as u64, 1 << shape.recycle_tick);
            (Timing::Recycle { ticks, width }, (0, (ticks + 1) * width))
        }
    }
}

/// As `msecs_to_jiffies` does: up.
fn jiffies(ns: u64, hz: u32) -> u64 {
    let jiffies = (u128::from(ns) * u128::from(hz)).div_ceil(u128::from(SECOND));
    u64::try_from(jiffies).unwrap_or(u64::MAX)
}

/// The prediction.
pub fn predict(inputs: &Inputs) -> Prediction {
    let timer = Timer::new(inputs.generation, inputs.tick, inputs.timeout_ns);
    let mut random = Random::new(inputs.seed);
    let span = load::Span::new(&inputs.load, &timer);
    let packets = load::packets(&inputs.load, &span, &mut random);
    let lives = simulate::run(inputs, &timer, &packets, &mut random);
    let counted = || lives.iter().filter(|life| span.counts(life.arrived_ns));
    let durations =
        Distribution::new(counted().map(|life| (life.ended_ns - life.arrived_ns, life.count)).collect());
    let cpus = match inputs.generation {
        Generation::Wheel | Generation::Cascading => inputs.cpus,
        // One row for the whole machine.
        Generation::DeathRow => 1,
    };
    Prediction {
        timer,
        sockets: durations.count(),
        durations,
        population: simulate::population(&lives, &span),
        bursts: simulate::bursts(&lives, &span, cpus, &mut random),
    }
}

#[cfg(test)]
mod tests;

//! Sends packets through the kernel's timers, and adds up what comes out.

use super::distribution::Distribution;
use super::load::{Packet, Span};
use super::random::Random;
use super::{Bursts, Generation, Inputs, Population, Timer};
use crate::wheel::legacy::{DeathRow, Group, Shape};
use crate::wheel::modern::{Wheel, granularity};

/// Up to this many sockets of a burst, each is given its CPU by lot; beyond it, all CPUs get the same.
const BY_LOT: u64 = 4_096;

/// Sockets that came and went together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) arrived_ns: u64,
    pub(super) ended_ns: u64,
    pub(super) count: u64,
}

/// All lives, in the order of their ends.
pub(super) fn run(inputs: &Inputs, timer: &Timer, packets: &[Packet], random: &mut Random) -> Vec<Life> {
    match inputs.generation {
        Generation::Wheel => {
            let wheel = Wheel::new(inputs.tick.hz);
            // A wheel does not begin with the load.
            let phase = random.below(granularity(wheel.levels() - 1));
            each_alone(timer, packets, |jiffy| {
                let now = jiffy.saturating_add(phase);
                wheel.place(now.saturating_add(timer.timeout_jiffies), now).bucket.saturating_sub(phase)
            })
        }
        Generation::Cascading => {
            each_alone(timer, packets, |jiffy| jiffy.saturating_add(timer.timeout_jiffies))
        }
        Generation::DeathRow => death_row(Shape::new(inputs.tick.hz), timer, packets),
    }
}

/// Where no socket's end depends on the others. `end` tells the jiffy for a jiffy of arrival.
fn each_alone(timer: &Timer, packets: &[Packet], end: impl Fn(u64) -> u64) -> Vec<Life> {
    let life = |packet: &Packet| Life {
        arrived_ns: packet.at_ns,
        ended_ns: end(packet.at_ns / timer.tick_ns).saturating_mul(timer.tick_ns),
        count: packet.count,
    };
    packets.iter().map(life).collect()
}

fn death_row(shape: Shape, timer: &Timer, packets: &[Packet]) -> Vec<Life> {
    let mut row = DeathRow::new(shape);
    let mut lives = Vec::new();
    let mut killed = |jiffy: u64, group: Group| {
        let (arrived_ns, ended_ns) = (packets[group.id as usize].at_ns, jiffy.saturating_mul(timer.tick_ns));
        lives.push(Life { arrived_ns, ended_ns, count: group.count });
    };
    for (id, packet) in (0..).zip(packets) {
        let jiffy = packet.at_ns / timer.tick_ns;
        row.advance(jiffy, |jiffy, _, group| killed(jiffy, group));
        row.schedule(jiffy, timer.timeout_jiffies, Group { id, count: packet.count });
    }
    row.advance(u64::MAX, |jiffy, _, group| killed(jiffy, group));
    lives
}

/// How many live at once.
pub(super) fn population(lives: &[Life], span: &Span) -> Population {
    let (from, until) = (span.steady_from_ns.unwrap_or(0), span.until_ns);
    let mut events: Vec<(u64, i64)> = Vec::with_capacity(2 * lives.len());
    for life in lives {
        let count = i64::try_from(life.count).unwrap_or(i64::MAX);
        // Sorted so that an end comes before an arrival of the same time.
        events.extend([(life.arrived_ns, count), (life.ended_ns, -count)]);
    }
    events.sort_unstable();
    let (mut living, mut peak) = (0i64, 0);
    for (ns, change) in events {
        living += change;
        if span.steady_from_ns.is_none() || (from..until).contains(&ns) {
            peak = peak.max(living);
        }
    }
    let lived = |life: &Life| {
        let ns = life.ended_ns.min(until).saturating_sub(life.arrived_ns.max(from));
        u128::from(ns) * u128::from(life.count)
    };
    let steady = span.steady_from_ns.map(|_| {
        let total: u128 = lives.iter().map(lived).sum();
        u64::try_from(total / u128::from((until - from).max(1))).unwrap_or(u64::MAX)
    });
    Population { steady, peak: peak.unsigned_abs() }
}

/// What ends at once.
pub(super) fn bursts(lives: &[Life], span: &Span, cpus: u32, random: &mut Random) -> Bursts {
    let counted = |ended_ns| span.steady_from_ns.is_none_or(|from| (from..span.until_ns).contains(&ended_ns));
    let (mut sizes, mut intervals, mut before) = (Vec::new(), Vec::new(), None);
    for burst in lives.chunk_by(|one, next| one.ended_ns == next.ended_ns) {
        let ended_ns = burst[0].ended_ns;
        if counted(ended_ns) {
            let count = burst.iter().map(|life| life.count).sum();
            split(count, cpus, random, |size| sizes.push((size, 1)));
            intervals.extend(before.map(|before| (ended_ns - before, 1)));
            before = Some(ended_ns);
        }
    }
    let intervals = Distribution::new(intervals);
    let interval_ns = (intervals.count() > 0).then(|| intervals.percentile(50));
    Bursts { sizes: Distribution::new(sizes), interval_ns }
}

/// A burst divided among the CPUs that armed it.
fn split(count: u64, cpus: u32, random: &mut Random, mut size: impl FnMut(u64)) {
    let cpus = u64::from(cpus);
    let even = if count > BY_LOT { count / cpus } else { 0 };
    let mut shares = vec![even; cpus as usize];
    for _ in 0..count - even * cpus {
        shares[random.below(cpus) as usize] += 1;
    }
    shares.into_iter().filter(|share| *share > 0).for_each(&mut size);
}

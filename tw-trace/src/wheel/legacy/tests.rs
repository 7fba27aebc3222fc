//! What KERNEL history says of the death row, and that no load makes it lose, hurry or repeat anyone.

use super::*;
use crate::made_up::Random;

const ALL_HZ: [u32; 4] = [100, 250, 300, 1000];
const MINUTE: u64 = 60;

struct Life {
    arrived: u64,
    ended: u64,
    count: u64,
    killer: Killer,
}

/// Runs groups `(jiffy, timeout, count)` in this order to their end.
fn run(shape: Shape, arrivals: &[(u64, u64, u64)]) -> Vec<Life> {
    let mut row = DeathRow::new(shape);
    let mut lives = Vec::new();
    for (id, &(arrived, timeout, count)) in (0..).zip(arrivals) {
        row.advance(arrived, |jiffy, killer, group| lives.push((jiffy, killer, group)));
        row.schedule(arrived, timeout, Group { id, count });
    }
    row.advance(u64::MAX, |jiffy, killer, group| lives.push((jiffy, killer, group)));
    assert_eq!((row.count(), row.next_timer()), (0, None));
    let life = |(ended, killer, group): (u64, Killer, Group)| Life {
        arrived: arrivals[group.id as usize].0,
        ended,
        count: group.count,
        killer,
    };
    lives.into_iter().map(life).collect()
}

/// Shortest and longest life in jiffies of those who arrived from `from` on.
fn span(lives: &[Life], from: u64) -> (u64, u64) {
    let lived = || lives.iter().filter(|life| life.arrived >= from).map(|life| life.ended - life.arrived);
    (lived().min().unwrap_or(0), lived().max().unwrap_or(0))
}

/// `per_period` sockets in each period of 7.5 s, evenly, for `periods` of them.
fn steady(shape: Shape, per_period: u64, periods: u64) -> Vec<Life> {
    let arrivals: Vec<_> = (0..per_period * periods)
        .map(|socket| (socket * shape.period / per_period, shape.timewait_len, 1))
        .collect();
    run(shape, &arrivals)
}

#[test]
fn the_shapes_of_the_kernels() {
    for (hz, period, recycle_tick) in [(100, 750, 4), (250, 1_875, 5), (300, 2_250, 6), (1000, 7_500, 7)] {
        let shape = Shape::new(hz);
        assert_eq!((shape.period, shape.recycle_tick), (period, recycle_tick));
        assert_eq!(shape.timewait_len, MINUTE * u64::from(hz));
        // 32 short slots reach about four seconds.
        let reach = (RECYCLE_SLOTS as u64) << recycle_tick;
        assert!((3 * u64::from(hz)..=8 * u64::from(hz)).contains(&reach), "{reach} at HZ={hz}");
    }
}

#[test]
fn the_first_into_an_empty_row_lasts_exactly_a_minute_and_so_does_a_crowd() {
    for hz in ALL_HZ {
        let shape = Shape::new(hz);
        for count in [1, 100, 101, 102, 10_000_000] {
            let lives = run(shape, &[(12_345, shape.timewait_len, count)]);
            assert_eq!(span(&lives, 0), (shape.timewait_len, shape.timewait_len), "{count} at HZ={hz}");
            let by_tick = lives.iter().filter(|life| life.killer == Killer::Tick);
            let by_tick: u64 = by_tick.map(|life| life.count).sum();
            assert_eq!(count.min(101), by_tick);
        }
    }
}

#[test]
fn a_row_that_keeps_up_lasts_between_seven_and_eight_periods() {
    for hz in ALL_HZ {
        let shape = Shape::new(hz);
        for per_period in [1, 10, 100] {
            let lives = steady(shape, per_period, 40);
            let (shortest, longest) = span(&lives, 0);
            assert!(shortest > 7 * shape.period && longest == 8 * shape.period, "{shortest}, {longest}");
        }
        let (shortest, _) = span(&steady(shape, 100, 40), 0);
        assert!(shortest < 7 * shape.period + shape.period / 50, "{shortest}");
    }
}

#[test]
fn a_row_over_its_quota_lasts_up_to_fifteen_periods_and_never_more() {
    for hz in ALL_HZ {
        let shape = Shape::new(hz);
        for a_second in [14, 100, 1_000] {
            let lives = steady(shape, a_second * 15 / 2, 60);
            let (shortest, longest) = span(&lives, 30 * shape.period);
            assert!(
                longest <= 15 * shape.period && longest > 15 * shape.period - shape.period / 20,
                "{longest}"
            );
            assert!(shortest > 13 * shape.period, "{shortest}");
        }
    }
}

#[test]
fn one_crowd_is_remembered_as_long_as_every_slot_fills_in_two_periods() {
    let shape = Shape::new(250);
    let after_crowd = |per_period: u64| {
        let mut arrivals = vec![(0, shape.timewait_len, 1_000)];
        let sockets = 0..per_period * 400;
        arrivals.extend(sockets.map(|socket| (socket * shape.period / per_period, shape.timewait_len, 1)));
        span(&run(shape, &arrivals), 300 * shape.period).1
    };
    assert_eq!(after_crowd(40), 8 * shape.period);
    assert_eq!(after_crowd(60), 9 * shape.period);
}

/// The bounds of one arrival.
fn bounds(shape: Shape, timeout: u64) -> (u64, u64) {
    match shape.target(timeout) {
        Target::Slow(ahead) => shape.bounds(ahead),
        // The kernel counts short slots from a hand that lags: only the upper end is certain.
        Target::Recycle(ticks) => (0, (ticks as u64 + 1) << shape.recycle_tick),
    }
}

#[test]
fn random_loads_lose_nobody_kill_nobody_early_and_nobody_twice() {
    let mut random = Random::new(15);
    for round in 0..400 {
        let shape = Shape::new(ALL_HZ[random.below(4) as usize]);
        let second = shape.timewait_len / MINUTE;
        let pause = 1 << random.below(16);
        let crowd = 1 << random.below(12);
        let mut now = random.below(1 << 40);
        let arrivals: Vec<_> = (0..1 + random.below(2_000))
            .map(|_| {
                now += random.below(pause);
                let timeout = match random.below(4) {
                    0 => 1 + random.below(70 * second),
                    1 if round % 2 == 0 => 1 + random.below(4 * second),
                    _ => shape.timewait_len,
                };
                (now, timeout, 1 + random.below(crowd))
            })
            .collect();
        check(shape, &arrivals);
    }
}

fn check(shape: Shape, arrivals: &[(u64, u64, u64)]) {
    let mut row = DeathRow::new(shape);
    let mut left: Vec<u64> = arrivals.iter().map(|(_, _, count)| *count).collect();
    let mut before = 0;
    let mut killed = |jiffy: u64, _: Killer, group: Group| {
        let (arrived, timeout, _) = arrivals[group.id as usize];
        let (more_than, at_most) = bounds(shape, timeout);
        let lived = jiffy - arrived;
        assert!(lived > more_than && lived <= at_most, "{timeout}: {lived} not in {more_than}..={at_most}");
        assert!(jiffy >= before && group.count > 0);
        before = jiffy;
        // Underflows, and thereby fails, when somebody is killed twice.
        left[group.id as usize] -= group.count;
    };
    for (id, &(arrived, timeout, count)) in (0..).zip(arrivals) {
        row.advance(arrived, &mut killed);
        row.schedule(arrived, timeout, Group { id, count });
    }
    row.advance(u64::MAX, &mut killed);
    assert_eq!(left.iter().sum::<u64>(), 0);
}

//! Loads through each generation of timers: what must come out, whatever the seed.

use super::*;

fn inputs(kernel: &str, hz: u32, load: Load) -> Inputs {
    Inputs {
        kernel: kernel.to_owned(),
        generation: Version::parse(kernel).expect("a version").generation(),
        tick: Tick { ns: (SECOND + u64::from(hz) / 2) / u64::from(hz), hz },
        timeout_ns: 60 * SECOND,
        load,
        cpus: 1,
        seed: 1,
    }
}

fn rate(rate: f64) -> Load {
    Load { rate: Some(rate), ..Load::default() }
}

fn burst(burst: u64) -> Load {
    Load { burst, ..Load::default() }
}

/// Seconds of the least and of the most.
fn span(prediction: &Prediction) -> (f64, f64) {
    (prediction.durations.min() as f64 / 1e9, prediction.durations.max() as f64 / 1e9)
}

#[test]
fn the_wheel_gives_the_whole_range_of_a_slot_and_nothing_beyond() {
    for (hz, width) in [(100, 5.12), (250, 2.048), (300, 1.706_666_496), (1000, 4.096)] {
        let predicted = predict(&inputs("6.12", hz, rate(1_000.0)));
        let (shortest, longest) = span(&predicted);
        assert!((59.999_9..60.01).contains(&shortest), "HZ={hz}: {shortest}");
        assert!(longest <= 60.0 + width && longest > 59.99 + width, "HZ={hz}: {longest}");
        let middle = predicted.durations.percentile(50) as f64 / 1e9;
        assert!((middle - 60.0 - width / 2.0).abs() < 0.01, "HZ={hz}: {middle}");
        let burst = (1_000.0 * width) as u64;
        assert!(predicted.bursts.sizes.percentile(50).abs_diff(burst) <= 2, "HZ={hz}");
        assert_eq!(predicted.bursts.interval_ns, predicted.timer.granularity_ns());
        // Little's law.
        let steady = predicted.population.steady.expect("a steady state");
        assert!(steady.abs_diff((1_000.0 * (60.0 + width / 2.0)) as u64) < 20, "HZ={hz}: {steady}");
        assert!(predicted.population.peak.abs_diff((1_000.0 * (60.0 + width)) as u64) < 20, "HZ={hz}");
    }
}

#[test]
fn bursts_add_up_and_divide_among_the_cpus() {
    for cpus in [1, 3, 64] {
        let load = Load { duration_ns: Some(10 * SECOND), ..rate(1_234.0) };
        let predicted = predict(&Inputs { cpus, ..inputs("6.12", 250, load) });
        let total: u64 = predicted.bursts.sizes.values().iter().map(|(size, count)| size * count).sum();
        assert_eq!((predicted.sockets, total), (12_340, 12_340));
        assert_eq!(predicted.population, Population { steady: None, peak: 12_340 });
        assert!(predicted.bursts.sizes.count() >= 5 * u64::from(cpus));
    }
}

#[test]
fn the_first_into_an_empty_death_row_lasts_a_minute_to_the_nanosecond() {
    for hz in [100, 250, 1000] {
        for crowd in [1, 101, 10_000_000] {
            let predicted = predict(&inputs("3.10", hz, burst(crowd)));
            assert_eq!(span(&predicted), (60.0, 60.0), "{crowd} at HZ={hz}");
            assert_eq!((predicted.population.peak, predicted.bursts.sizes.max()), (crowd, crowd));
        }
    }
}

#[test]
fn the_death_row_keeps_up_or_does_not() {
    for seed in 0..20 {
        let at = |closes| predict(&Inputs { seed, ..inputs("3.10", 250, rate(closes)) });
        let (shortest, longest) = span(&at(13.0));
        assert!(shortest > 52.5 && longest <= 60.0, "{shortest} – {longest}");
        let (shortest, longest) = span(&at(100.0));
        assert!(shortest > 97.5 && longest <= 112.5 && longest > 112.4, "{shortest} – {longest}");
    }
}

#[test]
fn a_crowd_stays_in_the_memory_of_the_death_row() {
    let load = |burst| Load { burst, duration_ns: Some(3_600 * SECOND), ..rate(8.0) };
    let longest = |burst| span(&predict(&inputs("3.10", 250, load(burst)))).1;
    assert!(longest(0) <= 60.0);
    assert!((67.0..=67.5).contains(&longest(500)), "{}", longest(500));
}

#[test]
fn timers_of_4_1_to_4_7_are_exact_to_the_jiffy() {
    let predicted = predict(&inputs("4.4", 250, rate(1_000.0)));
    let (shortest, longest) = span(&predicted);
    assert!(shortest >= 59.996 && longest <= 60.0, "{shortest} – {longest}");
    assert_eq!(predicted.bursts.interval_ns, Some(4_000_000));
}

#[test]
fn what_the_wheel_cannot_hold_is_clipped() {
    let far = Inputs { timeout_ns: 400 * 86_400 * SECOND, ..inputs("6.12", 1000, rate(1.0)) };
    let predicted = predict(&far);
    let (least, most) = predicted.timer.bounds_ns;
    assert!(matches!(predicted.timer.place, Timing::Wheel { clipped: Clipped::Yes, level: 8, .. }));
    assert!(predicted.durations.min() > least && predicted.durations.max() <= most);
}

#[test]
fn bounds_hold_for_random_loads_and_nobody_is_missing() {
    let mut random = Random::new(3);
    for seed in 0..60 {
        let load = Load {
            rate: Some(10f64.powi(random.below(5) as i32 - 2)),
            burst: random.below(2) * random.below(100_000),
            duration_ns: (random.below(2) == 1).then(|| SECOND * (1 + random.below(500))),
        };
        let kernel = ["2.6.32", "3.10", "4.4", "4.19", "7.0"][random.below(5) as usize];
        let hz = [100, 250, 300, 1000][random.below(4) as usize];
        let timeout_ns = if random.below(2) == 0 { 60 * SECOND } else { 1 + random.below(90 * SECOND) };
        let inputs =
            Inputs { seed, timeout_ns, cpus: 1 + random.below(4) as u32, ..inputs(kernel, hz, load) };
        let predicted = predict(&inputs);
        let (least, most) = predicted.timer.bounds_ns;
        if predicted.sockets > 0 {
            let (shortest, longest) = (predicted.durations.min(), predicted.durations.max());
            assert!(
                shortest >= least && longest <= most,
                "{shortest} – {longest} of {least} – {most}: {inputs:?}"
            );
        }
        if let Some(ns) = load.duration_ns {
            let closed = (load.rate.unwrap_or(0.0) * (ns as f64 / 1e9)).round() as u64 + load.burst;
            assert_eq!(predicted.sockets, closed, "{inputs:?}");
        }
    }
}

#[test]
fn a_seed_gives_the_same_again_and_another_does_not() {
    let at = |seed| predict(&Inputs { seed, ..inputs("6.12", 250, burst(7)) });
    assert_eq!(at(1), at(1));
    assert_ne!(at(1).durations, at(2).durations);
}

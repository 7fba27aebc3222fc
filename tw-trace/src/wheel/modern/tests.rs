//! The model against the kernel's own words, and what must hold of it over the whole range.

use super::modern::*;
use crate::made_up::Random;

const ALL_HZ: [u32; 4] = [100, 250, 300, 1000];

/// kernel/time/timer.c, macro by macro and branch by branch.
mod kernel {
    const LVL_CLK_SHIFT: u64 = 3;
    const LVL_BITS: u64 = 6;
    const LVL_SIZE: u64 = 1 << LVL_BITS;
    const LVL_MASK: u64 = LVL_SIZE - 1;

    const fn lvl_shift(n: u64) -> u64 {
        n * LVL_CLK_SHIFT
    }
    const fn lvl_gran(n: u64) -> u64 {
        1 << lvl_shift(n)
    }
    const fn lvl_start(n: u64) -> u64 {
        (LVL_SIZE - 1) << ((n - 1) * LVL_CLK_SHIFT)
    }
    const fn lvl_offs(n: u64) -> u64 {
        n * LVL_SIZE
    }

    fn calc_index(expires: u64, lvl: u64, bucket_expiry: &mut u64) -> u64 {
        let expires = (expires >> lvl_shift(lvl)).wrapping_add(1);
        *bucket_expiry = expires << lvl_shift(lvl);
        lvl_offs(lvl) + (expires & LVL_MASK)
    }

    /// Returns `idx` and `bucket_expiry`.
    pub(super) fn calc_wheel_index(hz: u32, mut expires: u64, clk: u64) -> (u64, u64) {
        let lvl_depth = if hz > 100 { 9 } else { 8 };
        let wheel_timeout_cutoff = lvl_start(lvl_depth);
        let wheel_timeout_max = wheel_timeout_cutoff - lvl_gran(lvl_depth - 1);
        let delta = expires.wrapping_sub(clk);
        let mut bucket_expiry = 0;
        let idx = if delta < lvl_start(1) {
            calc_index(expires, 0, &mut bucket_expiry)
        } else if delta < lvl_start(2) {
            calc_index(expires, 1, &mut bucket_expiry)
        } else if delta < lvl_start(3) {
            calc_index(expires, 2, &mut bucket_expiry)
        } else if delta < lvl_start(4) {
            calc_index(expires, 3, &mut bucket_expiry)
        } else if delta < lvl_start(5) {
            calc_index(expires, 4, &mut bucket_expiry)
        } else if delta < lvl_start(6) {
            calc_index(expires, 5, &mut bucket_expiry)
        } else if delta < lvl_start(7) {
            calc_index(expires, 6, &mut bucket_expiry)
        } else if lvl_depth > 8 && delta < lvl_start(8) {
            calc_index(expires, 7, &mut bucket_expiry)
        } else if delta.cast_signed() < 0 {
            bucket_expiry = clk;
            clk & LVL_MASK
        } else {
            if delta >= wheel_timeout_cutoff {
                expires = clk.wrapping_add(wheel_timeout_max);
            }
            calc_index(expires, lvl_depth - 1, &mut bucket_expiry)
        };
        (idx, bucket_expiry)
    }
}

/// Deltas of every magnitude and around every edge, at clocks of every magnitude and about to wrap.
fn timers(mut check: impl FnMut(u32, u64, u64)) {
    let mut random = Random::new(8);
    for hz in ALL_HZ {
        for _ in 0..200_000 {
            let magnitude = 1 + random.below(63);
            let delta = random.below(1 << magnitude);
            let edge = (63u64 << (3 * random.below(10))).wrapping_add(random.below(5)).wrapping_sub(2);
            let clk = random.below(u64::MAX) >> random.below(64);
            for delta in [delta, edge, delta.wrapping_neg()] {
                check(hz, clk.wrapping_add(delta), clk);
            }
        }
    }
}

#[test]
fn it_is_what_the_kernel_computes() {
    timers(|hz, expires, clk| {
        let place = Wheel::new(hz).place(expires, clk);
        let expected = kernel::calc_wheel_index(hz, expires, clk);
        assert_eq!((place.index().into(), place.bucket), expected, "HZ={hz} {expires} at {clk}");
    });
}

#[test]
fn it_is_what_the_kernel_computes_for_every_delta_of_the_lower_levels() {
    for hz in ALL_HZ {
        for clk in [0, 1, 63, 511, 4_294_892_296, u64::MAX - 20_000] {
            for delta in 0..40_000u64 {
                let expires = clk.wrapping_add(delta);
                let place = Wheel::new(hz).place(expires, clk);
                let expected = kernel::calc_wheel_index(hz, expires, clk);
                assert_eq!((place.index().into(), place.bucket), expected, "HZ={hz} {delta} at {clk}");
            }
        }
    }
}

#[test]
fn never_early_and_never_later_than_one_granule() {
    timers(|hz, expires, clk| {
        let wheel = Wheel::new(hz);
        let (delta, place) = (expires.wrapping_sub(clk), wheel.place(expires, clk));
        if delta < wheel.cutoff() {
            let late = place.bucket.wrapping_sub(expires);
            assert!((1..=granularity(place.level)).contains(&late), "HZ={hz} {expires} at {clk}: {place:?}");
        } else if delta > i64::MAX as u64 {
            assert_eq!(place.bucket, clk);
        } else {
            // Clipped to the last bucket of the wheel.
            let ahead = place.bucket.wrapping_sub(clk);
            assert!(ahead <= wheel.cutoff() && ahead > wheel.cutoff() - granularity(wheel.levels() - 1));
        }
    });
}

/// But for the edge of the wheel's capacity, where the kernel clips to a bucket before the last that still fits.
#[test]
fn monotone_in_expires() {
    timers(|hz, expires, clk| {
        let wheel = Wheel::new(hz);
        let mut random = Random::new(expires ^ clk);
        let magnitude = random.below(32);
        let later = expires.wrapping_add(random.below(1 << magnitude));
        let ahead = |expires: u64| wheel.place(expires, clk).bucket.wrapping_sub(clk);
        let order = |expires: u64| expires.wrapping_sub(clk).cast_signed();
        let clipped = |expires: u64| order(expires) >= wheel.cutoff().cast_signed();
        if order(expires) <= order(later) {
            let edge = if clipped(expires) == clipped(later) { 0 } else { granularity(wheel.levels() - 1) };
            assert!(ahead(expires) <= ahead(later) + edge, "HZ={hz} {expires}, {later} at {clk}");
        }
    });
}

#[test]
fn the_edge_of_the_capacity_is_the_kernels_own() {
    let wheel = Wheel::new(100);
    let (clk, fits) = (4_245, 4_245 + wheel.cutoff() - 1);
    assert_eq!(wheel.place(fits, clk).bucket, wheel.place(fits + 1, clk).bucket + granularity(7));
}

#[test]
fn a_minute_is_what_the_table_of_the_documentation_says() {
    for (hz, tick_ns, level, width_ns) in [
        (100, 10_000_000, 3, 5_120_000_000),
        (250, 4_000_000, 3, 2_048_000_000),
        (300, 3_333_333, 3, 1_706_666_496),
        (1000, 1_000_000, 4, 4_096_000_000),
    ] {
        let found = Wheel::new(hz).level(60 * u64::from(hz));
        assert_eq!((found, granularity_ns(tick_ns, found)), (level, width_ns));
    }
}

#[test]
fn nonsense_from_outside_has_no_granularity() {
    assert_eq!(granularity_ns(4_000_000, 200), 0);
}

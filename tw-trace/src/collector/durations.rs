//! A distribution of durations: a histogram of bounded size, with the extremes kept exactly.

use hdrhistogram::Histogram;

/// Significant digits that tell 60.05 s from 62.05 s to a few milliseconds (0.9 MB once used).
pub(super) const FINE: u8 = 4;
/// Significant digits for everything else (0.1 MB once used).
pub(super) const COARSE: u8 = 3;

/// The unit of the histogram.
const UNIT_NS: u64 = 1_000;
/// Where it begins; it grows when a duration is longer.
const LONGEST_US: u64 = 120_000_000;

/// What is longer counts as this long in the percentiles: no kernel keeps a socket so long, but a recording may
/// say anything.
const YEAR_US: u64 = 365 * 86_400 * 1_000_000;

/// Durations of one kind of end. Takes no memory to speak of until the first one.
pub struct Durations {
    digits: u8,
    count: u64,
    min_ns: u64,
    max_ns: u64,
    histogram: Option<Histogram<u32>>,
}

/// Count, extremes and percentiles of a distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    pub count: u64,
    pub min_ns: u64,
    pub max_ns: u64,
    pub p50_ns: u64,
    pub p90_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
}

impl Durations {
    pub const fn new(digits: u8) -> Self {
        Self { digits, count: 0, min_ns: u64::MAX, max_ns: 0, histogram: None }
    }

    pub fn add(&mut self, ns: u64) {
        self.count += 1;
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
        if let Some(histogram) = self.histogram() {
            // Can only fail for want of memory to grow; the extremes are then still told.
            let _ = histogram.record((ns / UNIT_NS).min(YEAR_US));
        }
    }

    /// All of these in one.
    pub fn merged(parts: &[Self]) -> Self {
        let mut all = Self::new(FINE);
        for part in parts.iter().filter(|part| part.count > 0) {
            all.count += part.count;
            all.min_ns = all.min_ns.min(part.min_ns);
            all.max_ns = all.max_ns.max(part.max_ns);
            if let (Some(into), Some(from)) = (all.histogram(), &part.histogram) {
                for value in from.iter_recorded() {
                    let middle = from.median_equivalent(value.value_iterated_to());
                    let _ = into.record_n(middle, count32(value.count_since_last_iteration()));
                }
            }
        }
        all
    }

    /// None when there was no duration.
    pub fn spread(&self) -> Option<Spread> {
        let histogram = self.histogram.as_ref()?;
        let at = |quantile| (histogram.value_at_quantile(quantile) * UNIT_NS).clamp(self.min_ns, self.max_ns);
        Some(Spread {
            count: self.count,
            min_ns: self.min_ns,
            max_ns: self.max_ns,
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
        })
    }

    /// Durations in ascending order, each with its count.
    pub fn values(&self) -> Vec<(u64, u64)> {
        let Some(histogram) = &self.histogram else { return Vec::new() };
        histogram
            .iter_recorded()
            .map(|value| {
                let middle = histogram.median_equivalent(value.value_iterated_to()) * UNIT_NS;
                (middle.clamp(self.min_ns, self.max_ns), value.count_since_last_iteration())
            })
            .collect()
    }

    /// Made when first needed. These bounds and digits are ones that the crate takes; if it did not, the
    /// extremes would still be told.
    fn histogram(&mut self) -> Option<&mut Histogram<u32>> {
        if self.histogram.is_none() {
            self.histogram = Histogram::new_with_bounds(1, LONGEST_US, self.digits).ok();
            if let Some(histogram) = &mut self.histogram {
                histogram.auto(true);
            }
        }
        self.histogram.as_mut()
    }
}

fn count32(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn extremes_are_exact_and_percentiles_within_milliseconds_at_a_minute() {
        let mut durations = Durations::new(FINE);
        for ms in 60_050..=62_050 {
            durations.add(ms * MS + 7);
        }
        let spread = durations.spread().expect("durations were added");
        assert_eq!((spread.count, spread.min_ns, spread.max_ns), (2001, 60_050 * MS + 7, 62_050 * MS + 7));
        assert!(spread.p50_ns.abs_diff(61_050 * MS) < 6 * MS, "{spread:?}");
        assert!(spread.p999_ns <= spread.max_ns);
        assert_eq!(durations.values().iter().map(|(_, count)| count).sum::<u64>(), 2001);
    }

    #[test]
    fn nothing_has_no_spread_and_zero_is_a_duration() {
        assert_eq!(Durations::new(COARSE).spread(), None);
        let mut durations = Durations::new(COARSE);
        durations.add(0);
        assert_eq!(durations.spread().map(|s| (s.count, s.p999_ns)), Some((1, 0)));
    }

    #[test]
    fn longer_than_expected_still_counts() {
        let mut durations = Durations::new(COARSE);
        durations.add(900_000 * MS);
        assert_eq!(durations.spread().map(|s| s.p50_ns), Some(900_000 * MS));
    }

    #[test]
    fn nonsense_neither_overflows_nor_takes_memory() {
        let mut durations = Durations::new(FINE);
        durations.add(u64::MAX - 1);
        assert_eq!(durations.spread().map(|s| s.p50_ns), Some(u64::MAX - 1));
        assert_eq!(durations.values(), [(u64::MAX - 1, 1)]);
    }

    #[test]
    fn parts_add_up() {
        let mut fine = Durations::new(FINE);
        let mut coarse = Durations::new(COARSE);
        (0..10).for_each(|_| fine.add(60_100 * MS));
        (0..30).for_each(|_| coarse.add(5 * MS));
        let all = Durations::merged(&[fine, coarse, Durations::new(COARSE)]);
        let spread = all.spread().expect("durations were added");
        assert_eq!((spread.count, spread.min_ns, spread.max_ns), (40, 5 * MS, 60_100 * MS));
        assert!(spread.p50_ns.abs_diff(5 * MS) < MS / 10);
        assert_eq!(all.values().iter().map(|(_, count)| count).sum::<u64>(), 40);
    }
}

//! A distribution as the kernel side counts it: log-linear buckets, and the extremes.

use tw_trace_common::histogram::{BUCKETS, Histogram, high, index, low};

use crate::{collector::Spread, sink::histogram::Bar};

/// Counts by bucket, with what is known of the values beyond their buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets {
    counts: Vec<u64>,
    sum: u64,
    /// Exact, where they are those of a whole run; else bounds of the outermost buckets.
    extremes: Option<(u64, u64)>,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], sum: 0, extremes: None }
    }
}

impl Buckets {
    /// Adds what one CPU counted.
    pub fn add(&mut self, cpu: &Histogram) {
        for (sum, count) in self.counts.iter_mut().zip(&cpu.counts) {
            *sum += count;
        }
        self.sum = self.sum.wrapping_add(cpu.sum);
        if cpu.min_complement != 0 {
            let (least, most) = (!cpu.min_complement, cpu.max);
            self.extremes = Some(match self.extremes {
                None => (least, most),
                Some((min, max)) => (min.min(least), max.max(most)),
            });
        }
    }

    /// From the least value and the count of each filled bucket, the sum, and the extremes.
    /// None where the extremes cannot be.
    pub fn read(filled: &[(u64, u64)], sum: u64, extremes: (u64, u64)) -> Option<Self> {
        if extremes.0 > extremes.1 {
            return None;
        }
        let mut buckets = Self { sum, extremes: Some(extremes), ..Self::default() };
        for (low, count) in filled {
            let sum = &mut buckets.counts[index(*low) as usize];
            *sum = sum.checked_add(*count)?;
        }
        Some(buckets)
    }

    /// Adds one value.
    pub fn insert(&mut self, value: u64) {
        self.counts[index(value) as usize] += 1;
        self.sum = self.sum.wrapping_add(value);
        self.extremes =
            Some(self.extremes.map_or((value, value), |(min, max)| (min.min(value), max.max(value))));
    }

    /// A histogram without extremes: they are told as the bounds of the outermost buckets.
    pub fn from_counts(counts: &[u64; BUCKETS], sum: u64) -> Self {
        Self { counts: counts.to_vec(), sum, extremes: Some((0, u64::MAX)) }.since(&Self::default())
    }

    /// Adds another distribution.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
        self.sum = self.sum.wrapping_add(other.sum);
        self.extremes = match (self.extremes, other.extremes) {
            (Some((min, max)), Some((least, most))) => Some((min.min(least), max.max(most))),
            (mine, others) => mine.or(others),
        };
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Of all values, wrapping.
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// The least value: exact of a whole run, the low end of its bucket of a part.
    pub fn min(&self) -> Option<u64> {
        self.extremes.map(|(min, _)| min)
    }

    pub fn max(&self) -> Option<u64> {
        self.extremes.map(|(_, max)| max)
    }

    /// What came since `earlier`, a state of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let counts: Vec<u64> =
            self.counts.iter().zip(&earlier.counts).map(|(now, then)| now.saturating_sub(*then)).collect();
        let ends = |index: usize| (low(index as u32), high(index as u32) - 1);
        let first = counts.iter().position(|&count| count > 0).map(|index| ends(index).0);
        let last = counts.iter().rposition(|&count| count > 0).map(|index| ends(index).1);
        // Nothing outside the extremes of the whole.
        let (min, max) = self.extremes.unwrap_or((0, u64::MAX));
        let extremes = first.zip(last).map(|(first, last)| (first.max(min), last.min(max)));
        Self { counts, sum: self.sum.wrapping_sub(earlier.sum), extremes }
    }

    /// Non-empty buckets: from, to (exclusive), how many.
    pub fn filled(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let counted = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.map(|(index, count)| (low(index as u32), high(index as u32), *count))
    }

    /// No more than this many thousandths of all values are greater. None of nothing.
    pub fn quantile(&self, per_mille: u64) -> Option<u64> {
        let (min, max) = self.extremes?;
        let count = self.count();
        let rank = u128::from(count) * u128::from(per_mille);
        let mut seen = 0u128;
        let bucket = self.counts.iter().position(|count| {
            seen += u128::from(*count) * 1_000;
            seen > 0 && seen >= rank
        })?;
        Some((high(bucket as u32) - 1).clamp(min, max))
    }

    /// Count, extremes and percentiles. None of nothing.
    pub fn spread(&self) -> Option<Spread> {
        Some(Spread {
            count: self.count(),
            min_ns: self.min()?,
            max_ns: self.max()?,
            p50_ns: self.quantile(500)?,
            p90_ns: self.quantile(900)?,
            p99_ns: self.quantile(990)?,
            p999_ns: self.quantile(999)?,
        })
    }

    /// One bar a bucket, for nothing finer is known; the outermost end where the values do.
    pub fn bars(&self) -> Vec<Bar> {
        let (min, max) = self.extremes.unwrap_or((0, u64::MAX));
        let bar = |(from, to, count): (u64, u64, u64)| Bar {
            low_ns: from.max(min),
            high_ns: to.min(max.saturating_add(1)),
            count,
        };
        self.filled().map(bar).collect()
    }

    /// Values as they may be drawn: the middles of buckets, in ascending order, with their counts.
    pub fn values(&self) -> Vec<(u64, u64)> {
        let (min, max) = self.extremes.unwrap_or((0, u64::MAX));
        self.filled()
            .map(|(from, to, count)| ((from + (to.saturating_sub(from)) / 2).clamp(min, max), count))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::EMPTY;
        for &value in values {
            histogram.counts[index(value) as usize] += 1;
            histogram.sum += value;
            histogram.max = histogram.max.max(value);
            histogram.min_complement = histogram.min_complement.max(!value);
        }
        histogram
    }

    fn of(cpus: &[&[u64]]) -> Buckets {
        let mut buckets = Buckets::default();
        cpus.iter().for_each(|values| buckets.add(&counted(values)));
        buckets
    }

    #[test]
    fn cpus_add_up_and_extremes_are_exact() {
        let buckets = of(&[&[61_000, 62_007], &[], &[60_001]]);
        assert_eq!((buckets.count(), buckets.sum()), (3, 183_008));
        assert_eq!((buckets.min(), buckets.max()), (Some(60_001), Some(62_007)));
        assert_eq!(buckets.filled().map(|(_, _, count)| count).sum::<u64>(), 3);
    }

    #[test]
    fn quantiles_are_within_a_sixteenth_and_within_the_extremes() {
        let values: Vec<u64> = (1..=10_000).map(|n| n * 1_000).collect();
        let buckets = of(&[&values]);
        for (per_mille, exact) in [(500, 5_000_000), (900, 9_000_000), (990, 9_900_000)] {
            let found = buckets.quantile(per_mille).unwrap();
            assert!(found >= exact && found as f64 <= exact as f64 * 1.0625, "{per_mille}: {found}");
        }
        assert_eq!(buckets.quantile(1_000), Some(10_000_000));
        assert_eq!(of(&[&[7]]).quantile(500), Some(7));
        assert_eq!(of(&[]).quantile(500), None);
    }

    #[test]
    fn an_interval_holds_what_came_in_it() {
        let (first, both) = (of(&[&[5, 100_000]]), of(&[&[5, 100_000, 70_000, 70_001]]));
        let interval = both.since(&first);
        assert_eq!(interval.count(), 2);
        assert!(interval.min().unwrap() <= 70_000 && interval.max().unwrap() >= 70_001);
        assert!(interval.max().unwrap() < 100_000);
        assert_eq!(first.since(&first), Buckets::default());
    }
}

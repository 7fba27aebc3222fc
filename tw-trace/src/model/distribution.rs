//! Exact figures of a distribution: values in ascending order, each with its count.

/// Values with counts, ascending, each value once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    values: Vec<(u64, u64)>,
    count: u64,
}

impl Distribution {
    pub fn new(mut values: Vec<(u64, u64)>) -> Self {
        values.sort_unstable();
        values.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        values.retain(|(_, count)| *count > 0);
        Self { count: values.iter().map(|(_, count)| count).sum(), values }
    }

    pub const fn count(&self) -> u64 {
        self.count
    }

    pub fn values(&self) -> &[(u64, u64)] {
        &self.values
    }

    /// 0 when there is no value.
    pub fn min(&self) -> u64 {
        self.values.first().map_or(0, |(value, _)| *value)
    }

    /// 0 when there is no value.
    pub fn max(&self) -> u64 {
        self.values.last().map_or(0, |(value, _)| *value)
    }

    /// The least value that so many percent do not exceed.
    pub fn percentile(&self, percent: u64) -> u64 {
        let rank = (u128::from(self.count) * u128::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.values.iter().find(|(_, count)| {
            seen += u128::from(*count);
            seen >= rank
        });
        found.map_or(self.max(), |(value, _)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_are_there() {
        let of = Distribution::new(vec![(30, 1), (10, 50), (20, 49), (10, 0), (20, 0)]);
        assert_eq!((of.count(), of.min(), of.max()), (100, 10, 30));
        assert_eq!([50, 51, 99, 100].map(|percent| of.percentile(percent)), [10, 20, 20, 30]);
        assert_eq!(of.values(), [(10, 50), (20, 49), (30, 1)]);
    }

    #[test]
    fn of_nothing_is_nothing() {
        let none = Distribution::new(Vec::new());
        assert_eq!((none.count(), none.percentile(50), none.max()), (0, 0, 0));
    }
}

//! A distribution of few values: the filled buckets alone, for there may be many such distributions.

use tw_trace_common::histogram::BUCKETS;

use crate::buckets::Buckets;

/// The buckets of [`Buckets`] that are not empty, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FewBuckets {
    filled: Vec<(u16, u64)>,
    /// Of all values, wrapping.
    sum: u64,
}

impl FewBuckets {
    pub fn from_counts(counts: &[u64; BUCKETS], sum: u64) -> Self {
        let filled = (0..).zip(counts).filter(|(_, count)| **count > 0);
        Self { filled: filled.map(|(index, count)| (index, *count)).collect(), sum }
    }

    pub fn add(&mut self, other: &Self) {
        for (index, count) in &other.filled {
            match self.filled.binary_search_by_key(index, |(index, _)| *index) {
                Ok(at) => self.filled[at].1 += count,
                Err(at) => self.filled.insert(at, (*index, *count)),
            }
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    pub fn count(&self) -> u64 {
        self.filled.iter().map(|(_, count)| count).sum()
    }

    /// `earlier` may have been a state of this distribution.
    pub fn continues(&self, earlier: &Self) -> bool {
        let now = |index: u16| self.filled.binary_search_by_key(&index, |(index, _)| *index);
        earlier.filled.iter().all(|(index, then)| now(*index).is_ok_and(|at| self.filled[at].1 >= *then))
    }

    /// What came since `earlier`, a state of the same distribution.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before =
            |index: u16| earlier.filled.iter().find(|(of, _)| *of == index).map_or(0, |(_, count)| *count);
        let came = self.filled.iter().map(|(index, now)| (*index, now.saturating_sub(before(*index))));
        Self {
            filled: came.filter(|(_, count)| *count > 0).collect(),
            sum: self.sum.wrapping_sub(earlier.sum),
        }
    }

    /// With all buckets. The extremes are the bounds of the outermost ones.
    pub fn whole(&self) -> Buckets {
        let mut counts = [0; BUCKETS];
        for (index, count) in &self.filled {
            if let Some(of) = counts.get_mut(usize::from(*index)) {
                *of = *count;
            }
        }
        Buckets::from_counts(&counts, self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn few(filled: &[(usize, u64)], sum: u64) -> FewBuckets {
        let mut counts = [0; BUCKETS];
        filled.iter().for_each(|(index, count)| counts[*index] = *count);
        FewBuckets::from_counts(&counts, sum)
    }

    #[test]
    fn it_adds_up_like_one_with_all_buckets() {
        let (first, second) = (few(&[(0, 2), (300, 1)], 40), few(&[(7, 5), (300, 3)], u64::MAX));
        let mut both = first.clone();
        both.add(&second);
        assert_eq!(both, few(&[(0, 2), (7, 5), (300, 4)], 39));
        let mut whole = first.whole();
        whole.merge(&second.whole());
        assert_eq!((both.count(), both.whole()), (whole.count(), whole));
        assert_eq!(both.since(&first), second);
        assert!(both.continues(&first) && both.continues(&both) && !first.continues(&both));
        assert_eq!(both.since(&both), FewBuckets::default());
    }
}

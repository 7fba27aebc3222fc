//! What was counted up to one moment, and between two; pure but for the reading.

use std::cmp::Reverse;

use anyhow::Result;
use tw_trace_common::{counter::Counter, histogram::Series};

use super::{asked::Asked, by, key::Name};
use crate::{
    buckets::Buckets,
    cli::ByArg,
    few::FewBuckets,
    kernel::{
        keys::{ByKey, Rest},
        load::Loaded,
    },
};

/// Counts of the whole run so far, or of an interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// In the order in which they are told; empty ones too.
    pub(super) distributions: Vec<(Series, Buckets)>,
    pub(super) by_key: ByKey,
    /// Sockets that left TIME_WAIT without a time: its beginning was not seen.
    pub(super) undated: u64,
    /// Sockets that are under no key, for there was no room for theirs.
    pub(super) no_room: u64,
}

/// One interval, to be shown.
pub(super) struct Block {
    /// CLOCK_MONOTONIC at its end.
    pub(super) mono_ns: u64,
    pub(super) interval_ns: u64,
    pub(super) counted: Counted,
    pub(super) by: Option<Top>,
    /// Sockets in TIME_WAIT, of those that were asked for.
    pub(super) living: u64,
}

/// The keys that counted most.
pub(super) struct Top {
    pub(super) by: ByArg,
    pub(super) shown: Vec<(Name, Buckets)>,
    /// Keys that are not shown, and the values under them.
    pub(super) others: (u64, u64),
}

impl Counted {
    /// The programs may be at work: a value may be in one figure and not yet in another.
    pub(super) fn read(loaded: &Loaded, asked: Asked) -> Result<Self> {
        let counters = loaded.counters()?;
        let series = asked.series().into_iter();
        Ok(Self {
            distributions: series.map(|one| Ok((one, loaded.histogram(one)?))).collect::<Result<_>>()?,
            by_key: if by(asked.by).is_some() { loaded.keys()? } else { ByKey::default() },
            undated: counters[Counter::Undated as usize],
            no_room: counters[Counter::KeyMapFull as usize],
        })
    }

    /// What came since `earlier`, of the same run.
    #[must_use]
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let nothing = Buckets::default();
        let before = |index: usize| earlier.distributions.get(index).map_or(&nothing, |(_, buckets)| buckets);
        let distributions = self.distributions.iter().enumerate();
        Self {
            distributions: distributions.map(|(at, (of, now))| (*of, now.since(before(at)))).collect(),
            by_key: self.by_key.since(&earlier.by_key),
            undated: self.undated - earlier.undated,
            no_room: self.no_room - earlier.no_room,
        }
    }

    /// Distributions with something in them.
    pub(super) fn filled(&self) -> impl Iterator<Item = (Series, &Buckets)> {
        self.distributions
            .iter()
            .filter(|(_, buckets)| buckets.count() > 0)
            .map(|(of, buckets)| (*of, buckets))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.filled().next().is_none() && self.undated == 0
    }

    /// Time in TIME_WAIT, whatever ended it.
    pub(super) fn time_wait(&self) -> Buckets {
        let mut all = Buckets::default();
        for (of, buckets) in &self.distributions {
            if matches!(of, Series::TimeWait(_)) {
                all.merge(buckets);
            }
        }
        all
    }

    pub(super) fn of(&self, series: Series) -> Option<&Buckets> {
        self.filled().find(|(of, _)| *of == series).map(|(_, buckets)| buckets)
    }

    /// The keys that counted most.
    pub(super) fn top(&self, arg: ByArg, most: usize) -> Top {
        if let Some(by) = by(Some(arg)) {
            let rows = self.by_key.keys.iter().map(|(key, few)| (Name::Key(by, *key), few)).collect();
            let (shown, others) = most_counted(rows, most, FewBuckets::count);
            let shown = shown.into_iter().map(|(name, few)| (name, few.whole())).collect();
            let Rest { keys, count } = self.by_key.rest;
            return Top { by: arg, shown, others: (others.0 + keys, others.1 + count) };
        }
        let reasons = self.filled().filter_map(|(of, buckets)| {
            let Series::TimeWait(reason) = of else { return None };
            Some((Name::Reason(reason), buckets))
        });
        let (shown, others) = most_counted(reasons.collect(), most, Buckets::count);
        let shown = shown.into_iter().map(|(name, buckets)| (name, buckets.clone())).collect();
        Top { by: arg, shown, others }
    }
}

/// So many rows, those that counted most first; and how many more there are, with the values under them.
fn most_counted<T>(
    mut rows: Vec<(Name, &T)>,
    most: usize,
    count: impl Fn(&T) -> u64,
) -> (Vec<(Name, &T)>, (u64, u64)) {
    // Sorting is stable: those that counted alike stay in the order of their keys.
    rows.sort_by_key(|(_, of)| Reverse(count(of)));
    let others = rows.split_off(most.min(rows.len()));
    let counted = others.iter().map(|(_, of)| count(of)).sum();
    (rows, (others.len() as u64, counted))
}

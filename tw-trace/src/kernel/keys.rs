//! The times in TIME_WAIT by key: what the kernel side counted, and what was taken over from it, so that keys that come and
//! go (every process is one) fill neither the kernel's map nor the table here.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{HashMap, MapData},
};
use tw_trace_common::{
    config::Cell,
    keys::{EPOCH_SHIFT, Key, KeyHistogram},
};

use super::{ledgers::wait_for_programs, load::Loaded};
use crate::few::FewBuckets;

/// Keys that are told apart, at most, where --keys asks for no more: a hundred bytes each and more, by how much their times
/// differ. With more of them, the half that counted least is added up.
const MOST_KEYS: usize = 1 << 16;

/// A key as it lies in the map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct KeyValue(Key);

// SAFETY: a repr(C) struct of integers without padding.
unsafe impl Pod for KeyValue {}

/// A key's histogram as it lies in the map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct HistogramValue(KeyHistogram);

// SAFETY: a repr(C) struct of integers without padding.
unsafe impl Pod for HistogramValue {}

/// What was counted by key up to one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByKey {
    pub keys: BTreeMap<Key, FewBuckets>,
    /// Of keys that are not told apart any more. One that counts again is a new one.
    pub rest: Rest,
}

/// Keys that were added up, and the values under them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    pub keys: u64,
    pub count: u64,
}

impl ByKey {
    fn add(&mut self, key: Key, counted: &FewBuckets) {
        self.keys.entry(key).or_default().add(counted);
    }

    /// All values, under whatever key.
    pub fn count(&self) -> u64 {
        self.rest.count + self.keys.values().map(FewBuckets::count).sum::<u64>()
    }

    /// What came since `earlier`, of the same run.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut came = Self::default();
        for (key, now) in &self.keys {
            let new = match earlier.keys.get(key) {
                Some(then) if now.continues(then) => now.since(then),
                // Added up meanwhile, and counted anew.
                Some(_) | None => now.clone(),
            };
            if new.count() > 0 {
                came.keys.insert(*key, new);
            }
        }
        let count = (self.count() - earlier.count()).saturating_sub(came.count());
        let keys = if count == 0 { 0 } else { self.rest.keys - earlier.rest.keys };
        Self { rest: Rest { keys, count }, ..came }
    }

    /// Adds up those that counted least, if there are more than so many.
    fn fold(&mut self, most: usize) {
        if self.keys.len() <= most {
            return;
        }
        let mut counts: Vec<(u64, Key)> = self.keys.iter().map(|(key, of)| (of.count(), *key)).collect();
        counts.sort_unstable();
        counts.truncate(self.keys.len() - most / 2);
        for (count, key) in counts {
            self.keys.remove(&key);
            self.rest.keys += 1;
            self.rest.count += count;
        }
    }
}

impl Loaded {
    /// What was counted so far.
    pub fn keys(&self) -> Result<ByKey> {
        let map = self.ebpf.map("KEYS").context("the eBPF object has no map KEYS")?;
        let map = HashMap::<&MapData, KeyValue, HistogramValue>::try_from(map)?;
        let mut all = self.taken_keys.clone();
        for entry in &map {
            let (key, histogram) = entry?;
            all.add(without_epoch(key.0), &few(&histogram));
        }
        Ok(all)
    }

    /// To be asked every second: takes over what the kernel side counted when there are more keys than there is to be room
    /// for. The map has as much room again, for those that come meanwhile.
    pub fn relieve_keys(&mut self, room: u32) -> Result<()> {
        if self.keys_map_mut()?.keys().count() <= room as usize {
            return Ok(());
        }
        let epoch = self.cell(Cell::KeyEpoch)?;
        self.set_cell(Cell::KeyEpoch, epoch ^ 1)?;
        wait_for_programs();
        let mut map = self.keys_map_mut()?;
        let keys = map.keys().filter(|key| !matches!(key, Ok(key) if epoch_of(key.0) != epoch));
        let keys: Vec<KeyValue> = keys.collect::<Result<_, _>>()?;
        let mut taken = Vec::with_capacity(keys.len());
        for key in keys {
            taken.push((without_epoch(key.0), few(&map.get(&key, 0)?)));
            map.remove(&key)?;
        }
        taken.iter().for_each(|(key, counted)| self.taken_keys.add(*key, counted));
        self.taken_keys.fold(MOST_KEYS.max(room as usize));
        Ok(())
    }

    fn keys_map_mut(&mut self) -> Result<HashMap<&mut MapData, KeyValue, HistogramValue>> {
        let map = self.ebpf.map_mut("KEYS").context("the eBPF object has no map KEYS")?;
        Ok(HashMap::try_from(map)?)
    }
}

const fn epoch_of(key: Key) -> u64 {
    key.0[2] >> EPOCH_SHIFT
}

const fn without_epoch(Key([first, second, third]): Key) -> Key {
    Key([first, second, third & ((1 << EPOCH_SHIFT) - 1)])
}

fn few(histogram: &HistogramValue) -> FewBuckets {
    FewBuckets::from_counts(&histogram.0.counts, histogram.0.sum)
}

#[cfg(test)]
mod tests {
    use tw_trace_common::histogram::BUCKETS;

    use super::*;

    fn values(count: u64) -> FewBuckets {
        let mut counts = [0; BUCKETS];
        counts[3] = count;
        FewBuckets::from_counts(&counts, 3 * count)
    }

    #[test]
    fn the_epoch_is_no_part_of_the_key() {
        let key = Key([1, 2, 3]);
        let later = Key([1, 2, 3 | 1 << EPOCH_SHIFT]);
        assert_eq!([epoch_of(key), epoch_of(later)], [0, 1]);
        assert_eq!([without_epoch(key), without_epoch(later)], [key; 2]);
    }

    #[test]
    fn keys_that_counted_least_are_added_up_and_nothing_is_lost() {
        let mut all = ByKey::default();
        for pid in 0..10 {
            all.add(Key([0, 0, pid]), &values(pid + 1));
        }
        all.fold(10);
        assert_eq!((all.keys.len(), all.count()), (10, 55));
        all.add(Key([0, 0, 10]), &values(1));
        all.fold(10);
        assert_eq!((all.keys.len(), all.rest.keys, all.count()), (5, 6, 56));
        assert!(all.keys.keys().all(|key| (5..10).contains(&key.0[2])), "{:?}", all.keys.keys());
    }

    #[test]
    fn what_came_is_right_whatever_was_added_up_meanwhile() {
        let mut before = ByKey::default();
        before.add(Key([0, 0, 1]), &values(5));
        before.add(Key([0, 0, 2]), &values(7));
        before.add(Key([0, 0, 3]), &values(9));
        let mut now = before.clone();
        now.add(Key([0, 0, 1]), &values(1));
        now.fold(2);
        // The first is a new one, and the second counted before it was added up.
        now.add(Key([0, 0, 1]), &values(2));
        now.add(Key([0, 0, 4]), &values(1));
        let came = now.since(&before);
        let counts: Vec<_> = came.keys.iter().map(|(key, of)| (key.0[2], of.count())).collect();
        assert_eq!(counts, [(1, 2), (4, 1)]);
        assert_eq!((came.rest.count, came.count()), (1, 4));
        assert_eq!(now.since(&now), ByKey::default());
    }
}

//! Cgroup paths that were looked up, by id; bounded, by forgetting what was used least recently.

use std::collections::HashMap;

/// Entries kept; beyond, the half that was used least recently is forgotten. A busy host has some thousand cgroups.
pub(super) const CACHE: usize = 16_384;

/// Paths by id, `None` where there is none.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<u64, Known>,
    uses: u64,
}

#[derive(Debug)]
struct Known {
    path: Option<String>,
    /// `Cache::uses` at the last use.
    used: u64,
}

impl Cache {
    pub(super) fn get(&mut self, id: u64) -> Option<Option<&str>> {
        self.uses += 1;
        let known = self.entries.get_mut(&id)?;
        known.used = self.uses;
        Some(known.path.as_deref())
    }

    pub(super) fn insert(&mut self, id: u64, path: Option<String>) {
        if self.entries.len() >= CACHE && !self.entries.contains_key(&id) {
            let mut uses: Vec<_> = self.entries.values().map(|known| known.used).collect();
            let (_, &mut median, _) = uses.select_nth_unstable(CACHE / 2);
            self.entries.retain(|_, known| known.used >= median);
        }
        self.uses += 1;
        self.entries.insert(id, Known { path, used: self.uses });
    }

    /// Half of it is for ids that were asked for.
    pub(super) fn takes_more(&self) -> bool {
        self.entries.len() < CACHE / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let mut cache = Cache::default();
        let path = |id| Some(format!("/{id}"));
        for id in 1..=3 * CACHE as u64 {
            cache.insert(id, if id % 2 == 0 { None } else { path(id) });
            assert!(cache.entries.len() <= CACHE);
            assert_eq!(cache.get(1), Some(Some("/1")), "used all the time; {id} came");
        }
        assert_eq!(cache.get(3 * CACHE as u64), Some(None), "that there is no path is remembered");
        assert_eq!(cache.get(3), None, "long unused");
    }
}

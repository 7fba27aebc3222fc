//! Whose the ended sockets were: exits by the name of the closing process, in bounded memory.

use std::collections::HashMap;

use tw_trace_common::event::Owner;

/// Names that are told apart.
const MOST: usize = 1024;

/// Exits by `comm`. Process ids are left out: a client that forks for every request would fill any table.
#[derive(Default)]
pub struct Owners {
    counts: HashMap<[u8; 16], u64>,
    /// The name of the last exits and how many they were: exits come in runs of one owner.
    run: ([u8; 16], u64),
    /// Exits of names that came when the table was full.
    more: u64,
}

/// The most frequent owners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Top {
    /// `comm` (zeros when unknown) and exits, most first.
    pub named: Vec<([u8; 16], u64)>,
    /// Exits of all others.
    pub others: u64,
}

impl Owners {
    pub fn add(&mut self, owner: &Owner) {
        if self.run.0 != owner.comm {
            self.settle();
            self.run = (owner.comm, 0);
        }
        self.run.1 += 1;
    }

    fn settle(&mut self) {
        let (comm, count) = self.run;
        if let Some(known) = self.counts.get_mut(&comm) {
            *known += count;
        } else if count > 0 && self.counts.len() < MOST {
            self.counts.insert(comm, count);
        } else {
            self.more += count;
        }
    }

    pub fn top(&self, most: usize) -> Top {
        let mut settled = Self { counts: self.counts.clone(), run: self.run, more: self.more };
        settled.settle();
        let mut named: Vec<_> = settled.counts.into_iter().collect();
        named.sort_by_key(|&(comm, count)| (std::cmp::Reverse(count), comm));
        let others = settled.more + named.iter().skip(most).map(|(_, count)| count).sum::<u64>();
        named.truncate(most);
        Top { named, others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(index: u64) -> Owner {
        let mut owner = Owner::default();
        owner.comm[..8].copy_from_slice(&index.to_be_bytes());
        owner
    }

    #[test]
    fn most_frequent_first_and_nobody_is_dropped() {
        let mut owners = Owners::default();
        for index in 1..=2000 {
            owners.add(&named(index));
        }
        (0..7).for_each(|_| owners.add(&named(3)));
        owners.add(&named(4));
        let top = owners.top(2);
        assert_eq!(top.named, [(named(3).comm, 8), (named(4).comm, 2)]);
        assert_eq!(top.others, 2008 - 10);
        assert_eq!(Owners::default().top(2), Top::default());
    }
}

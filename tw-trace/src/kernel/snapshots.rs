//! The kernel's own counters around a run, per network namespace: what the audit compares with.

use std::collections::BTreeMap;

use super::netns::{Counters, Netns, enumerate, run_in};
use crate::audit::{End, Namespace, Snapshot, Start};

/// The namespaces of a run and the readings taken of them so far.
pub struct Snapshots {
    /// One namespace only, when the run is about one.
    only: Option<u32>,
    watched: BTreeMap<u32, Watched>,
    /// Processes that would not tell their namespace.
    pub untold: usize,
}

struct Watched {
    /// Kept open, and so alive, until the readings of the end are taken: but see [`Snapshots::release`].
    netns: Option<Netns>,
    start: Option<(Reading, Reading)>,
    end: Option<(Reading, Reading)>,
}

type Reading = Result<Snapshot, String>;

impl Snapshots {
    /// Finds the namespaces there are.
    pub fn new(only: Option<u32>) -> Self {
        let mut snapshots = Self { only, watched: BTreeMap::new(), untold: 0 };
        snapshots.find();
        snapshots
    }

    /// Looks for namespaces that are new.
    fn find(&mut self) {
        let all = enumerate();
        self.untold = all.untold;
        for (inode, netns) in all.found {
            if self.only.is_none_or(|only| only == inode) {
                let watched =
                    self.watched.entry(inode).or_insert(Watched { netns: None, start: None, end: None });
                watched.netns = Some(netns);
            }
        }
    }

    pub fn namespaces(&self) -> impl Iterator<Item = &Netns> {
        self.watched.values().filter_map(|watched| watched.netns.as_ref())
    }

    pub fn read(&self) -> Readings {
        Readings(self.namespaces().map(|netns| (netns.inode, read(netns))).collect())
    }

    /// Readings from right before attaching and right after seeding.
    pub fn started(&mut self, before: Readings, after: Readings) {
        for (inode, pair) in before.with(after) {
            if let Some(watched) = self.watched.get_mut(&inode) {
                watched.start = Some(pair);
            }
        }
    }

    /// Lets go of the namespaces: holding them open would keep the kernel from removing them, and their
    /// time-wait sockets from ending for that reason.
    pub fn release(&mut self) {
        for watched in self.watched.values_mut() {
            watched.netns = None;
        }
    }

    /// Finds again what is there, and what came since.
    pub fn reopen(&mut self) {
        self.find();
    }

    /// Readings from right before and right after detaching.
    pub fn ended(&mut self, before: Readings, after: Readings) {
        for (inode, pair) in before.with(after) {
            if let Some(watched) = self.watched.get_mut(&inode) {
                watched.end = Some(pair);
            }
        }
    }

    /// For the audit.
    pub fn finish(self) -> Vec<Namespace> {
        self.watched.into_iter().map(|(inode, watched)| watched.namespace(inode)).collect()
    }
}

impl Watched {
    fn namespace(self, inode: u32) -> Namespace {
        let unreadable = |why: String| (Start::Created, End::Unreadable(why));
        let (start, end) = match (self.start, self.end) {
            (_, None) => (Start::Created, End::Gone),
            (None, Some((Ok(before), Ok(after)))) => (Start::Created, End::Read { before, after }),
            (Some((Ok(before), Ok(after))), Some((Ok(end_before), Ok(end_after)))) => {
                (Start::Read { before, after }, End::Read { before: end_before, after: end_after })
            }
            (Some((Err(why), _) | (_, Err(why))), _) | (_, Some((Err(why), _) | (_, Err(why)))) => {
                unreadable(why)
            }
        };
        Namespace { inode, start, end }
    }
}

/// Counters of all namespaces at about one moment.
pub struct Readings(BTreeMap<u32, Reading>);

impl Readings {
    fn with(self, mut later: Self) -> impl Iterator<Item = (u32, (Reading, Reading))> {
        self.0.into_iter().filter_map(move |(inode, first)| Some((inode, (first, later.0.remove(&inode)?))))
    }
}

fn read(netns: &Netns) -> Reading {
    let counters =
        run_in(netns, Counters::read).and_then(|counters| counters).map_err(|error| format!("{error:#}"))?;
    let tcpext = counters.tcp_ext.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Snapshot { tcpext, tw: counters.tw })
}

//! The kernel's own counters around a run, per network namespace: what the audit compares with.

use std::collections::BTreeMap;

use super::netns::{Counters, Netns, cookie, enumerate, run_in};
use crate::audit::{End, Namespace, Snapshot, Start};

/// The namespaces of a run and the readings taken of them so far.
pub struct Snapshots {
    /// The one namespace that the run is about, if it is about one.
    only: Option<NetnsId>,
    /// By cookie, or by inode where there are no cookies.
    watched: BTreeMap<u64, Watched>,
    /// Processes that would not tell their namespace.
    pub untold: usize,
}

/// Which namespace: the kernel gives the inode of one that is gone to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetnsId {
    pub inode: u32,
    /// `None` where the kernel has no cookies, or where the namespace may not be entered to ask.
    pub cookie: Option<u64>,
}

impl NetnsId {
    pub fn of(netns: &Netns) -> Self {
        Self { inode: netns.inode, cookie: run_in(netns, cookie).ok().flatten() }
    }

    /// The one with this inode, as it is now.
    pub fn with_inode(inode: u32) -> Self {
        enumerate().found.get(&inode).map_or(Self { inode, cookie: None }, Self::of)
    }

    fn key(self) -> u64 {
        self.cookie.unwrap_or_else(|| self.inode.into())
    }
}

struct Watched {
    inode: u32,
    /// Open, and so kept alive, only while readings are taken: see [`Snapshots::release`].
    netns: Option<Netns>,
    found: Found,
    start: Option<(Reading, Reading)>,
    end: Option<(Reading, Reading)>,
}

/// When a namespace was first seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Before,
    /// While the programs were being attached: what it had counted by then is not known.
    Meanwhile,
    After,
}

type Reading = Result<Snapshot, String>;

impl Snapshots {
    /// Finds the namespaces there are.
    pub fn new(only: Option<NetnsId>) -> Self {
        let mut snapshots = Self { only, watched: BTreeMap::new(), untold: 0 };
        snapshots.find(Found::Before);
        snapshots
    }

    fn find(&mut self, found: Found) {
        let all = enumerate();
        self.untold = all.untold;
        for netns in all.found.into_values() {
            if self.only.is_some_and(|only| only.inode != netns.inode) {
                continue;
            }
            let id = NetnsId::of(&netns);
            if self.only.is_none_or(|only| only == id) {
                let new = Watched { inode: id.inode, netns: None, found, start: None, end: None };
                self.watched.entry(id.key()).or_insert(new).netns = Some(netns);
            }
        }
    }

    pub fn namespaces(&self) -> impl Iterator<Item = &Netns> {
        self.watched.values().filter_map(|watched| watched.netns.as_ref())
    }

    /// With the keys of their ledgers.
    pub fn keyed(&self) -> impl Iterator<Item = (u64, &Netns)> {
        self.watched.iter().filter_map(|(id, watched)| Some((*id, watched.netns.as_ref()?)))
    }

    pub fn read(&self) -> Readings {
        Readings(self.keyed().map(|(id, netns)| (id, read(netns))).collect())
    }

    /// Readings from right before attaching and right after seeding. Lets go of the namespaces: holding them
    /// open would keep the kernel from removing them, and their time-wait sockets from ending for that reason.
    pub fn started(&mut self, before: Readings, after: Readings) {
        for (id, pair) in before.with(after) {
            if let Some(watched) = self.watched.get_mut(&id) {
                watched.start = Some(pair);
            }
        }
        self.find(Found::Meanwhile);
        self.release();
    }

    /// Lets go of the namespaces: see [`Snapshots::started`].
    pub fn release(&mut self) {
        for watched in self.watched.values_mut() {
            watched.netns = None;
        }
    }

    /// Finds again what is there, and what came since.
    pub fn reopen(&mut self) {
        self.find(Found::After);
    }

    /// Readings from right before and right after detaching.
    pub fn ended(&mut self, before: Readings, after: Readings) {
        for (id, pair) in before.with(after) {
            if let Some(watched) = self.watched.get_mut(&id) {
                watched.end = Some(pair);
            }
        }
        self.release();
    }

    /// Whether the namespace with this key was there at the start.
    pub fn watches(&self, key: u64) -> bool {
        self.watched.contains_key(&key)
    }

    /// For the audit.
    pub fn finish(self) -> Vec<Namespace> {
        self.watched.into_iter().map(|(id, watched)| watched.namespace(id)).collect()
    }
}

impl Watched {
    fn namespace(self, id: u64) -> Namespace {
        let (start, end) = match (self.start, self.end) {
            (_, None) => (Start::Created, End::Gone),
            (_, Some(_)) if self.found == Found::Meanwhile => {
                (Start::Created, End::Unreadable("it came while the programs were being attached".to_owned()))
            }
            (None, Some((Ok(before), Ok(after)))) => (Start::Created, End::Read { before, after }),
            (Some((Ok(before), Ok(after))), Some((Ok(end_before), Ok(end_after)))) => {
                (Start::Read { before, after }, End::Read { before: end_before, after: end_after })
            }
            (Some((Err(why), _) | (_, Err(why))), _) | (_, Some((Err(why), _) | (_, Err(why)))) => {
                (Start::Created, End::Unreadable(why))
            }
        };
        Namespace { id, inode: self.inode, start, end }
    }
}

/// Counters of all namespaces at about one moment.
pub struct Readings(BTreeMap<u64, Reading>);

impl Readings {
    fn with(self, mut later: Self) -> impl Iterator<Item = (u64, (Reading, Reading))> {
        self.0.into_iter().filter_map(move |(id, first)| Some((id, (first, later.0.remove(&id)?))))
    }

    /// Time-wait sockets by the kernel's own count, as far as it could be read.
    pub fn living(&self) -> u64 {
        self.0.values().filter_map(|reading| Some(reading.as_ref().ok()?.tw)).sum()
    }
}

fn read(netns: &Netns) -> Reading {
    let counters =
        run_in(netns, Counters::read).and_then(|counters| counters).map_err(|error| format!("{error:#}"))?;
    let tcpext = counters.tcp_ext.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Snapshot { tcpext, tw: counters.tw })
}

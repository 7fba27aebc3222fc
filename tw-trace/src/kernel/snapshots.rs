//! The kernel's own counters around a run, per network namespace: what the audit compares with.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Result;

use super::{
    netns::{
        Budget, Counters, Found, Netns, Place, Unlooked, Unvisited, Visited, cookie, find, find_one,
        find_only, run_in, visit,
    },
    seed::Walks,
};
use crate::{
    audit::{Namespace, Snapshot},
    stop::Stop,
};
use watched::{FirstSeen, Reading, Watched};

mod watched;

/// How long one round through all namespaces may take: two or three of them make a start, two or three a stop. One
/// namespace takes 0.1 ms (a VM of 2026).
const ROUND: Duration = Duration::from_millis(700);
/// The kernel lists a time-wait socket in less; listing them does not count towards the round.
const LISTING: Duration = Duration::from_micros(2);

/// The namespaces of a run and the readings taken of them so far. None is held open: that would keep the kernel from
/// removing it, and its time-wait sockets from ending for that reason, and take a descriptor each.
pub struct Snapshots {
    /// The one namespace that the run is about, if it is about one.
    only: Option<NetnsId>,
    /// By cookie, or by inode where there are no cookies.
    watched: BTreeMap<u64, Watched>,
    /// Where they were last found.
    places: Vec<Place>,
    /// What was not looked at then.
    pub unlooked: Unlooked,
    /// The same of the start.
    unlooked_at_start: Unlooked,
}

/// Which namespace: the kernel gives the inode of one that is gone to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetnsId {
    pub inode: u32,
    /// `None` where the kernel has no cookies, or where the namespace may not be entered to ask.
    pub cookie: Option<u64>,
}

impl NetnsId {
    /// The one with this inode, as it is now.
    pub fn with_inode(inode: u32) -> Self {
        let netns = find_one(inode);
        Self { inode, cookie: netns.and_then(|netns| run_in(&netns, cookie).ok().flatten()) }
    }

    fn key(self) -> u64 {
        self.cookie.unwrap_or_else(|| self.inode.into())
    }
}

/// What came of a visit.
struct Visit {
    cookie: Option<u64>,
    reading: Reading,
    /// Its sockets were seeded, or there were none.
    seeded: Result<(), String>,
}

/// What the caller does while namespaces are being visited, several times a second.
pub type Duties<'a> = &'a mut dyn FnMut() -> Result<()>;

impl Snapshots {
    /// Finds the namespaces there are.
    pub fn new(only: Option<NetnsId>) -> Self {
        let unlooked = Unlooked::default;
        let mut snapshots = Self {
            only,
            watched: BTreeMap::new(),
            places: Vec::new(),
            unlooked: unlooked(),
            unlooked_at_start: unlooked(),
        };
        snapshots.look();
        snapshots
    }

    fn search(&self) -> Found {
        self.only.map_or_else(find, |only| find_only(only.inode))
    }

    /// Finds what is there now.
    pub fn look(&mut self) {
        let Found { places, unlooked } = self.search();
        self.places = places.into_values().collect();
        self.unlooked = unlooked;
    }

    /// The one namespace that the run is about, if it is there.
    pub fn open_only(&self) -> Option<Netns> {
        self.only.and_then(|_| self.places.first()?.open().ok())
    }

    /// Reads the counters of all before the programs are attached; those of an attempt that failed are forgotten.
    pub fn read_before_attaching(&mut self, stop: &Stop) -> Result<()> {
        let visited = self.round(Some(stop), &read, &mut || Ok(()))?;
        self.take_note(visited, FirstSeen::Before, |watched| &mut watched.start[0]);
        Ok(())
    }

    /// Once the programs are attached: seeds every namespace, also those that came meanwhile, and reads its counters.
    /// Returns which could not be seeded, and why.
    pub fn seed(&mut self, walks: &Walks, stop: &Stop, duties: Duties) -> Result<Vec<String>> {
        let seed = || seed(walks);
        let visited = self.round(Some(stop), &seed, &mut *duties)?;
        let mut unseeded = unseeded(&visited);
        let known: BTreeSet<u32> = visited.keys().copied().collect();
        self.take_note(visited, FirstSeen::Before, |watched| &mut watched.start[1]);
        self.look();
        self.unlooked_at_start = self.unlooked.clone();
        let all = self.places.clone();
        self.places.retain(|place| !known.contains(&place.inode));
        let visited = self.round(Some(stop), &seed, duties)?;
        unseeded.extend(self::unseeded(&visited));
        self.take_note(visited, FirstSeen::Meanwhile, |watched| &mut watched.start[1]);
        self.places = all;
        Ok(unseeded)
    }

    /// Seeds once more, in the namespaces that there are now; returns which could not be.
    pub fn seed_again(&mut self, walks: &Walks, stop: &Stop, duties: Duties) -> Result<Vec<String>> {
        self.look();
        Ok(unseeded(&self.round(Some(stop), &|| seed(walks), duties)?))
    }

    /// Finds what is there at the end, and reads its counters.
    pub fn read_before_detaching(&mut self, duties: Duties) -> Result<()> {
        self.look();
        let visited = self.round(None, &read, duties)?;
        self.take_note(visited, FirstSeen::After, |watched| &mut watched.end[0]);
        Ok(())
    }

    /// Time-wait sockets by the kernel's own count, as far as it could be read before detaching.
    pub fn living(&self) -> u64 {
        self.watched.values().filter_map(|watched| Some(watched.end[0].as_ref()?.as_ref().ok()?.tw)).sum()
    }

    /// Has the programs list the time-wait sockets of every namespace; returns the keys of those where that was done.
    pub fn list(&mut self, walks: &Walks, duties: Duties) -> Result<BTreeSet<u64>> {
        let visited = self.round(None, &|| seed(walks), duties)?;
        let listed = visited.into_iter().filter_map(|(inode, visit)| {
            let Visit { cookie, seeded, reading: _ } = visit.ok()?;
            seeded.is_ok().then_some(NetnsId { inode, cookie }.key())
        });
        Ok(listed.collect())
    }

    pub fn read_after_detaching(&mut self, duties: Duties) -> Result<()> {
        let visited = self.round(None, &read, duties)?;
        self.take_note(visited, FirstSeen::After, |watched| &mut watched.end[1]);
        Ok(())
    }

    /// Whether the namespace with this key was there at the start.
    pub fn watches(&self, key: u64) -> bool {
        self.watched.contains_key(&key)
    }

    /// For the audit.
    pub fn finish(self) -> Vec<Namespace> {
        let unlooked = [&self.unlooked_at_start, &self.unlooked];
        self.watched.into_iter().map(|(id, watched)| watched.namespace(id, unlooked)).collect()
    }

    /// Goes through the namespaces. Those that are not where they were found any more are looked for once: the process may
    /// have ended, and another be in the same namespace.
    fn round<T: Send>(
        &mut self,
        stop: Option<&Stop>,
        task: &(impl Fn() -> (T, Duration) + Sync),
        duties: Duties,
    ) -> Result<Visited<T>> {
        let budget = Budget { time: ROUND, stop };
        let mut visited = visit(&self.places, &budget, task, &mut *duties)?;
        let has_moved = |place: &Place| matches!(visited.get(&place.inode), Some(Err(Unvisited::Moved)));
        if self.places.iter().any(has_moved) {
            let mut found = self.search();
            let (moved, mut places): (Vec<_>, Vec<_>) = self.places.drain(..).partition(has_moved);
            let moved: Vec<_> =
                moved.into_iter().filter_map(|place| found.places.remove(&place.inode)).collect();
            visited.extend(visit(&moved, &budget, task, duties)?);
            places.extend(moved);
            self.places = places;
            self.unlooked = found.unlooked;
        }
        Ok(visited)
    }

    fn take_note(
        &mut self,
        visited: Visited<Visit>,
        first_seen: FirstSeen,
        slot: impl Fn(&mut Watched) -> &mut Option<Reading>,
    ) {
        let by_inode: BTreeMap<u32, u64> =
            self.watched.iter().map(|(key, watched)| (watched.inode, *key)).collect();
        for (inode, outcome) in visited {
            let (id, reading) = match outcome {
                Ok(Visit { cookie, reading, .. }) => (NetnsId { inode, cookie }, reading),
                // It is known by what it was when it was last visited, if it ever was.
                Err(why) => {
                    let cookie =
                        self.only.and_then(|only| only.cookie).or_else(|| by_inode.get(&inode).copied());
                    let Some(why) = words(&why) else { continue };
                    (NetnsId { inode, cookie }, Err(why))
                }
            };
            if self.only.is_none_or(|only| only == id) {
                *slot(self.entry(id, first_seen)) = Some(reading);
            }
        }
    }

    fn entry(&mut self, id: NetnsId, first_seen: FirstSeen) -> &mut Watched {
        let key = id.key();
        // What could not be visited before is known by its inode until it is.
        let unvisited =
            if self.watched.contains_key(&key) { None } else { self.watched.remove(&id.inode.into()) };
        let new = || Watched { inode: id.inode, first_seen, start: [None, None], end: [None, None] };
        self.watched.entry(key).or_insert_with(|| unvisited.unwrap_or_else(new))
    }
}

/// `None` for one that is not there any more: that is seen at the end.
fn words(why: &Unvisited) -> Option<String> {
    match why {
        Unvisited::Moved => None,
        Unvisited::Late => Some("not looked into: there was no time, for there are too many".to_owned()),
        Unvisited::Stopped => Some("not looked into: the run was stopped".to_owned()),
        Unvisited::Refused(why) => Some(format!("not looked into: {why}")),
    }
}

/// In the calling thread's namespace.
fn read() -> (Visit, Duration) {
    (Visit { cookie: cookie(), reading: reading(), seeded: Ok(()) }, Duration::ZERO)
}

/// In the calling thread's namespace. The programs are attached: where the kernel has no time-wait socket by now, all that
/// come are seen, and the kernel's whole table of connections need not be walked for it.
fn seed(walks: &Walks) -> (Visit, Duration) {
    let (visit, _) = read();
    let living = visit.reading.as_ref().map_or(1, |snapshot| snapshot.tw);
    if walks.are_none() || living == 0 {
        return (visit, Duration::ZERO);
    }
    let seeded = walks.go().map_err(|error| format!("the iterator failed: {error}"));
    let longer = LISTING * u32::try_from(living).unwrap_or(u32::MAX);
    (Visit { reading: reading(), seeded, ..visit }, longer)
}

fn reading() -> Reading {
    let counters = Counters::read().map_err(|error| format!("{error:#}"))?;
    let tcpext = counters.tcp_ext.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Snapshot { tcpext, tw: counters.tw })
}

/// Which namespaces' sockets were not seeded, and why: a sentence for each reason.
fn unseeded(visited: &Visited<Visit>) -> Vec<String> {
    let mut reasons = BTreeMap::<String, Vec<u32>>::new();
    for (inode, outcome) in visited {
        let why = match outcome {
            Ok(visit) => visit.seeded.as_ref().err().cloned(),
            Err(why) => words(why),
        };
        if let Some(why) = why {
            reasons.entry(why).or_default().push(*inode);
        }
    }
    let lines = reasons.iter().filter_map(|(why, inodes)| {
        let first = inodes.first()?;
        Some(match inodes.len() {
            1 => format!("network namespace {first}: {why}"),
            many => format!("{many} network namespaces (one of them is {first}): {why}"),
        })
    });
    lines.collect()
}

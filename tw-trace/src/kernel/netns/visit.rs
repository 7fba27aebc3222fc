//! One thread that goes through namespaces one after the other, within a time, while the caller goes on with its duties.

use std::{
    collections::BTreeMap,
    io,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
};

use super::{Netns, Place};
use crate::{stop::Stop, threads::beside};

/// How often the caller's duties are seen to meanwhile.
const DUTIES: Duration = Duration::from_millis(20);

/// How long all visits together may take.
pub struct Budget<'a> {
    pub time: Duration,
    /// Whoever may ask for an earlier end, if that is to be heard.
    pub stop: Option<&'a Stop>,
}

/// Why a namespace was not visited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unvisited {
    /// It is not where it was found any more.
    Moved,
    /// The time was over.
    Late,
    /// Somebody asked to stop.
    Stopped,
    /// In words that are the same for every namespace.
    Refused(String),
}

/// What visiting came to, by inode.
pub type Visited<T> = BTreeMap<u32, Result<T, Unvisited>>;

/// Runs `task` in each of these namespaces, and `duties` on the caller's thread meanwhile. `task` returns by how much the time
/// is to be extended besides what it gives: what it did may take long for good reason.
///
/// Needs CAP_SYS_ADMIN for any but the caller's namespace. An error is one of `duties`, or of a thread that could not come
/// back.
pub fn visit<T: Send>(
    places: &[Place],
    budget: &Budget,
    task: impl Fn() -> (T, Duration) + Send,
    mut duties: impl FnMut() -> Result<()>,
) -> Result<Visited<T>> {
    let (under_way, end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        // Where no thread can be started, this one goes, and the duties wait.
        let journey = beside(scope, "netns", move || {
            let _until_the_end = under_way;
            go_through(places, budget, task)
        });
        let mut outcome = Ok(());
        while end.recv_timeout(DUTIES) == Err(RecvTimeoutError::Timeout) {
            // Nothing is left to see to once it failed; the visits end soon.
            outcome = outcome.and_then(|()| duties());
        }
        let visited = journey.join("netns")?;
        outcome.and(visited)
    })
}

fn go_through<T>(places: &[Place], budget: &Budget, task: impl Fn() -> (T, Duration)) -> Result<Visited<T>> {
    let home = Netns::current().context("the own network namespace")?;
    let mut until = Instant::now() + budget.time;
    let mut visited = Visited::new();
    let (here, elsewhere): (Vec<_>, Vec<_>) = places.iter().partition(|place| place.inode == home.inode);
    for place in here.into_iter().chain(elsewhere) {
        let outcome = if budget.stop.is_some_and(Stop::is_asked) {
            Err(Unvisited::Stopped)
        } else if Instant::now() >= until {
            Err(Unvisited::Late)
        } else {
            enter(place, &home).map(|()| task()).map(|(result, longer)| {
                until += longer;
                result
            })
        };
        visited.insert(place.inode, outcome);
    }
    if visited.iter().any(|(inode, outcome)| *inode != home.inode && outcome.is_ok()) {
        setns(&home.file, CloneFlags::CLONE_NEWNET).context("returning to the own network namespace")?;
    }
    Ok(visited)
}

fn enter(place: &Place, home: &Netns) -> Result<(), Unvisited> {
    if place.inode == home.inode {
        return Ok(());
    }
    let netns = place.open().map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            Unvisited::Moved
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            Unvisited::Refused("may not be looked at (CAP_SYS_PTRACE is needed)".to_owned())
        } else {
            Unvisited::Refused(format!("could not be opened: {error}"))
        }
    })?;
    setns(&netns.file, CloneFlags::CLONE_NEWNET).map_err(|error| {
        Unvisited::Refused(if error == Errno::EPERM {
            "may not be entered (CAP_SYS_ADMIN is needed)".to_owned()
        } else {
            format!("could not be entered: {error}")
        })
    })
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, path::PathBuf};

    use super::*;
    use crate::kernel::netns::find;

    fn budget(time: Duration) -> Budget<'static> {
        Budget { time, stop: None }
    }

    fn own() -> Vec<Place> {
        let own = Netns::current().unwrap().inode;
        find().places.into_values().filter(|place| place.inode == own).collect()
    }

    #[test]
    fn the_caller_sees_to_its_duties_meanwhile() {
        let slow = || (thread::sleep(10 * DUTIES), Duration::ZERO);
        let times = Cell::new(0);
        let visited = visit(&own(), &budget(Duration::from_secs(1)), slow, || {
            times.set(times.get() + 1);
            Ok(())
        });
        assert_eq!(visited.unwrap().into_values().collect::<Vec<_>>(), [Ok(())]);
        assert!(times.get() > 1, "{}", times.get());
    }

    #[test]
    fn what_there_is_no_time_for_is_told_from_what_is_gone() {
        let task = || ((), Duration::ZERO);
        let visited = visit(&own(), &budget(Duration::ZERO), task, || Ok(())).unwrap();
        assert_eq!(visited.into_values().collect::<Vec<_>>(), [Err(Unvisited::Late)]);
        let gone = Place { inode: 1, path: PathBuf::from("/proc/self/ns/net") };
        let visited = visit(&[gone], &budget(Duration::from_secs(1)), task, || Ok(())).unwrap();
        assert_eq!(visited[&1], Err(Unvisited::Moved));
    }

    #[test]
    fn what_a_task_needs_for_good_reason_does_not_count() {
        let mut places = own();
        let elsewhere = Place { inode: 1, path: PathBuf::from("/surely/not/there") };
        places.push(elsewhere);
        let visited = |longer| {
            let task = move || (thread::sleep(Duration::from_millis(20)), longer);
            visit(&places, &budget(Duration::from_millis(10)), task, || Ok(())).unwrap()
        };
        assert_eq!(visited(Duration::ZERO)[&1], Err(Unvisited::Late));
        assert_eq!(visited(Duration::from_secs(1))[&1], Err(Unvisited::Moved));
    }
}

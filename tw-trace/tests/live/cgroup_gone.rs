//! A cgroup that is removed before its sockets end keeps its name.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{live, quiet};
use crate::run::{SHORT, Tracer};
use crate::skip::skip;
use crate::traffic::Traffic;

const COUNT: u32 = 5;

#[test]
fn a_removed_cgroup_keeps_its_name() {
    const NAME: &str = "a_removed_cgroup_keeps_its_name";
    live(NAME, || {
        let _quiet = quiet();
        let Some((folder, path)) = cgroup("gone") else {
            return skip(NAME, "no cgroup v2 can be made here");
        };
        let mut traffic = Traffic::scenarios(&["client_first"], COUNT);
        fs::write(folder.join("cgroup.procs"), traffic.pid.to_string()).expect("entering the cgroup");
        let netns = traffic.netns.to_string();
        let mut exits = Tracer::of_netns(traffic.netns, &["--events", "tw_exit"]);
        let hist =
            Tracer::command(&["hist", "--json", "--by", "cgroup", "--of", "time-wait", "--netns", &netns]);
        traffic.go(1);
        sleep(Duration::from_millis(500));
        // The process leaves; its sockets stay, in a cgroup that is no more.
        let root = folder.parent().expect("a cgroup above").join("cgroup.procs");
        fs::write(root, traffic.pid.to_string()).expect("leaving the cgroup");
        fs::remove_dir(&folder).expect("removing the cgroup");
        sleep(Duration::from_millis(300));
        drop(traffic);
        exits.read_exits(COUNT as usize, SHORT);
        let (exits, hist) = (exits.interrupt(), hist.interrupt());
        assert!(exits.status.success() && hist.status.success(), "{} {}", exits.stderr, hist.stderr);
        let exits = exits.of("tw_exit");
        assert_eq!(exits.len(), COUNT as usize);
        assert!(exits.iter().all(|exit| exit["cgroup"] == path.as_str()), "{:?}", exits.first());
        let by: Vec<&Value> =
            hist.of("hist").into_iter().filter_map(|block| block["by"].as_array()).flatten().collect();
        assert!(by.iter().any(|row| row["cgroup"] == path.as_str()), "{by:?}");
    });
}

/// A cgroup of the root's, which a process may leave for the root: its folder and its path.
pub(crate) fn cgroup(name: &str) -> Option<(PathBuf, String)> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let fields: Vec<&str> = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields[2] == "cgroup2")?;
    let name = format!("tw-{name}-{}", std::process::id());
    let folder = PathBuf::from(fields[1]).join(&name);
    fs::create_dir(&folder).ok()?;
    Some((folder, format!("/{name}")))
}

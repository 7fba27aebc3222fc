//! Keys of `hist --by` that come and go, more of them than their map has room for: none is without room, and the sums are
//! right.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::cgroup_gone::cgroup;
use crate::churn::close_a_connection;
use crate::harness::{live, loud};
use crate::run::{Tracer, ns};
use crate::skip::skip;

/// The map has twice the room.
const KEYS: u64 = 250;
/// In one second there are no more.
const BATCH: usize = 150;
const BATCHES: usize = 8;
/// Removing namespaces takes the kernel less; some kernels hide an event or two (`harness::live`).
const PATIENCE: Duration = Duration::from_secs(4);
/// The kernel side's map is looked at once a second.
const LOOK: Duration = Duration::from_millis(1_200);

#[test]
fn processes_that_come_and_go_keep_their_sums() {
    live("processes_that_come_and_go_keep_their_sums", || {
        let _loud = loud();
        let line = churn("process", |_| {
            let child = closing(None);
            let pid = u64::from(child.id());
            wait(child);
            pid
        });
        // Its loopback is raised by a process of the same name: `by` tells them apart.
        let told = told_by(&line.0, "pid");
        assert!(line.1.is_subset(&told), "{:?} are not among {}", line.1.difference(&told), told.len());
    });
}

#[test]
fn cgroups_that_come_and_go_keep_their_sums() {
    const NAME: &str = "cgroups_that_come_and_go_keep_their_sums";
    live(NAME, || {
        let Some((folder, _)) = cgroup("keys") else {
            return skip(NAME, "no cgroup v2 can be made here");
        };
        let _loud = loud();
        let line = churn("cgroup", |number| {
            let group = folder.join(number.to_string());
            fs::create_dir(&group).expect("a cgroup");
            let id = fs::metadata(&group).expect("the cgroup").ino();
            wait(closing(Some(group.join("cgroup.procs"))));
            fs::remove_dir(&group).expect("removing the cgroup");
            id
        });
        fs::remove_dir(&folder).expect("removing the cgroups' folder");
        let told = told_by(&line.0, "cgroup_id");
        assert!(line.1.is_subset(&told), "{:?} are not among {}", line.1.difference(&told), told.len());
    });
}

/// Makes one key after the other, in batches; returns the line that counts them all, and which they were.
fn churn(by: &str, mut make: impl FnMut(usize) -> u64) -> (Value, BTreeSet<u64>) {
    let room = KEYS.to_string();
    let options = ["hist", "--json", "--of", "time-wait", "--with-events", "--top", "60000", "--by", by];
    let mut tracer = Tracer::command(&[&options[..], &["--keys", &room]].concat());
    let mut made = BTreeSet::new();
    for batch in 0..BATCHES {
        made.extend((0..BATCH).map(|number| make(batch * BATCH + number)));
        // Their namespaces are removed with them, which ends their sockets.
        tracer.read_exits((batch + 1) * BATCH, PATIENCE);
        sleep(LOOK);
    }
    let run = tracer.interrupt();
    assert!(run.status.success(), "{}", run.stderr);
    assert_eq!(run.summary["balanced"], true, "{}", run.summary);
    assert!(run.summary["notes"]["key_map_full"].is_null(), "{}", run.summary);
    let line = run.of("hist").first().copied().cloned().expect("a line");
    let sum = |of: &str, kind: Option<&str>| -> u64 {
        let rows = line[of].as_array().expect("rows").iter();
        rows.filter(|row| kind.is_none_or(|kind| row["of"] == kind)).map(|row| ns(&row["count"])).sum()
    };
    let others = &line["by_others"];
    assert_eq!(ns(&others["no_room"]), 0, "{others}");
    assert_eq!(sum("by", None) + ns(&others["count"]), sum("distributions", Some("time_wait")), "{others}");
    (line, made)
}

fn told_by(line: &Value, name: &str) -> BTreeSet<u64> {
    line["by"].as_array().expect("rows").iter().filter_map(|row| row[name].as_u64()).collect()
}

/// A process that closes a connection in a network namespace of its own.
pub(crate) fn closing(procs: Option<PathBuf>) -> Child {
    let mut command = Command::new("true");
    let close = move || {
        if let Some(procs) = &procs {
            fs::write(procs, std::process::id().to_string())?;
        }
        close_a_connection();
        Ok(())
    };
    // SAFETY: between fork and exec, system calls that allocate little and take no lock of this process's threads.
    unsafe { command.pre_exec(close) };
    command.spawn().expect("a process")
}

pub(crate) fn wait(mut child: Child) {
    assert!(child.wait().expect("its end").success());
}

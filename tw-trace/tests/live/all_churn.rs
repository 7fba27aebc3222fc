//! Namespaces, cgroups and processes that come and go all together, five thousand of each: the sums are right, and memory
//! stays what it was.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::cgroup_gone::cgroup;
use crate::harness::{attached, ended_within, live, loud, tw_trace};
use crate::keys_churn::{closing, wait};
use crate::run::ns;
use crate::skip::skip;

const EACH: usize = 5_000;
/// By then every table that grows at first has grown.
const WARM: usize = 1_500;
/// What a tracer's memory may grow by from then on.
const GROWTH_KB: u64 = 4 << 10;
/// Programs that still run, and namespaces that are being removed.
const AFTERMATH: Duration = Duration::from_secs(3);

const VIEWS: [&[&str]; 3] = [
    &["trace", "--json", "--events", "tw_enter,tw_exit"],
    &["hist", "--json", "--of", "time-wait", "--by", "process"],
    &["hist", "--json", "--of", "time-wait", "--by", "cgroup"],
];

#[test]
fn five_thousand_of_everything_come_and_go() {
    const NAME: &str = "five_thousand_of_everything_come_and_go";
    live(NAME, || {
        let Some((folder, _)) = cgroup("all") else {
            return skip(NAME, "no cgroup v2 can be made here");
        };
        let _loud = loud();
        let tracers = VIEWS.map(Watching::start);
        (0..WARM).for_each(|number| come_and_go(&folder, number));
        let warm = [0, 1, 2].map(|view: usize| tracers[view].memory_kb());
        (WARM..EACH).for_each(|number| come_and_go(&folder, number));
        sleep(AFTERMATH);
        fs::remove_dir(&folder).expect("removing the cgroups' folder");
        for (tracer, warm) in tracers.into_iter().zip(warm) {
            let (view, grown) = (tracer.view, tracer.memory_kb().saturating_sub(warm));
            println!("{view:?}: {warm} KiB, and {grown} KiB more at the end");
            let last = tracer.finish();
            assert!(grown <= GROWTH_KB, "{view:?} grew by {grown} KiB from {warm}");
            sums(view, &last);
        }
    });
}

/// A process in a cgroup and a network namespace of its own, which closes a connection there.
fn come_and_go(folder: &Path, number: usize) {
    let group = folder.join(number.to_string());
    fs::create_dir(&group).expect("a cgroup");
    wait(closing(Some(group.join("cgroup.procs"))));
    fs::remove_dir(&group).expect("removing the cgroup");
}

struct Watching {
    view: &'static [&'static str],
    /// Until it is ended.
    child: Option<Child>,
    file: NamedTempFile,
}

impl Watching {
    fn start(view: &'static [&'static str]) -> Self {
        let file = NamedTempFile::new().expect("a temporary file");
        Self { view, child: Some(attached(Command::new(tw_trace()).args(view), file.path())), file }
    }

    /// What it holds in memory, files and shared maps left out.
    fn memory_kb(&self) -> u64 {
        let pid = self.child.as_ref().expect("a tracer that runs").id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Ends it; what it told, a value for each line that is no single event.
    fn finish(mut self) -> Vec<Value> {
        let child = self.child.take().expect("a tracer that runs");
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("stopping tw-trace");
        let output = ended_within(child, Duration::from_mins(1));
        assert!(output.status.success(), "{:?} ended with {}", self.view, output.status);
        let text = fs::read_to_string(self.file.path()).expect("what it told");
        let of_all = text.lines().filter(|line| !line.contains(r#""event":"tw_e"#));
        of_all.map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

/// A test that failed leaves no tracer behind.
impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn sums(view: &[&str], told: &[Value]) {
    let summary = told.last().expect("a summary");
    assert_eq!(summary["event"], "summary", "{view:?}");
    assert_eq!(summary["balanced"], true, "{view:?}: {summary}");
    assert_eq!(summary["lost"], 0, "{view:?}: {summary}");
    let notes = &summary["notes"];
    assert!(notes["netns_map_full"].is_null() && notes["key_map_full"].is_null(), "{view:?}: {notes}");
    let entered = ns(&summary["sockets"]["entered"]);
    assert!(entered >= EACH as u64, "{view:?}: {summary}");
    let Some(line) = told.iter().find(|line| line["event"] == "hist") else { return };
    let sum = |of: &str, kind: Option<&str>| -> u64 {
        let rows = line[of].as_array().expect("rows").iter();
        rows.filter(|row| kind.is_none_or(|kind| row["of"] == kind)).map(|row| ns(&row["count"])).sum()
    };
    let others = &line["by_others"];
    assert_eq!(ns(&others["no_room"]), 0, "{view:?}: {others}");
    let by_key = sum("by", None) + ns(&others["count"]);
    // A busy server is late: its client's socket is in FIN_WAIT2 first, which has a distribution of its own.
    assert_eq!(by_key, sum("distributions", Some("time_wait")), "{view:?}: {others}");
}

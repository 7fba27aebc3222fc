//! Whose a connection is, in a pid namespace and on a host without cgroup v2.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{ended, live, quiet, tw_trace};
use crate::run::{Run, Tracer};
use crate::traffic::Traffic;

const COUNT: u32 = 3;

/// Pids are those that `ps` shows beside tw-trace: the traffic is process 1 of its namespace.
#[test]
fn pids_are_those_of_the_pid_namespace() {
    live("pids_are_those_of_the_pid_namespace", || {
        let _quiet = quiet();
        let inside = traced_from_inside(Whose::Inside);
        assert_eq!(closers(&inside), vec![Value::from(1); COUNT as usize], "{:?}", inside.events);
        let outside = traced_from_inside(Whose::Outside);
        assert_eq!(closers(&outside), vec![Value::Null; COUNT as usize], "{:?}", outside.events);
        assert!(outside.events.iter().all(|event| event["comm"].is_string()), "{:?}", outside.events);
        for run in [&inside, &outside] {
            assert!(run.header["blind_spots"].to_string().contains("pid namespace"), "{}", run.header);
        }
    });
}

/// Whose connections are traced from inside the pid namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Inside,
    Outside,
}

/// The run of a tracer in the pid namespace of some traffic, over that traffic or over some in no such namespace: the
/// network namespace of the latter is not to be found from inside, so its events are picked here.
fn traced_from_inside(whose: Whose) -> Run {
    let mut inside = Traffic::in_pid_namespace("client_first", COUNT);
    let mut outside = Traffic::scenarios(&["client_first"], COUNT);
    let target = only_child(inside.pid).to_string();
    let traffic = if whose == Whose::Inside { &mut inside } else { &mut outside };
    let inode = traffic.netns;
    let netns = inode.to_string();
    let mut command = Command::new("nsenter");
    command.args(["--target", &target, "--pid", "--mount"]).arg(tw_trace());
    command.args(["trace", "--json", "--events", "tw_enter"]);
    // By itself, after its last event or in time: nsenter does not hand signals on.
    match whose {
        Whose::Inside => command.args([
            "--netns",
            &netns,
            "--pid",
            "1",
            "--duration",
            "30s",
            "--count",
            &COUNT.to_string(),
        ]),
        Whose::Outside => command.args(["--comm", "tw-client", "--duration", "5s"]),
    };
    let tracer = Tracer::spawn(command);
    traffic.go(1);
    let mut run = tracer.finish();
    run.events.retain(|event| event["netns"] == inode);
    run
}

fn closers(run: &Run) -> Vec<Value> {
    run.of("tw_enter").into_iter().map(|event| event["pid"].clone()).collect()
}

fn only_child(pid: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("its children");
    children.trim().parse().unwrap_or_else(|error| panic!("{error}: {children:?}"))
}

/// Cgroups of v1 are not to be had: the header says so, and a warning where they were asked for.
#[test]
fn without_cgroup_v2_it_is_said() {
    live("without_cgroup_v2_it_is_said", || {
        for (options, warns) in [(&["--by", "cgroup"][..], true), (&["--by", "process"][..], false)] {
            let mut command = Command::new("unshare");
            let script = "umount --recursive /sys/fs/cgroup 2> /dev/null; exec \"$@\"";
            command.args(["--mount", "sh", "-c", script, "sh"]).arg(tw_trace());
            command.args(["hist", "--json", "--duration", "100ms"]).args(options);
            let output =
                ended(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("unshare"));
            let (told, said) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{said}");
            let header: Value =
                serde_json::from_str(told.lines().next().unwrap_or_default()).expect("a header");
            assert!(header["blind_spots"].to_string().contains("cgroup v2 is not mounted"), "{header}");
            assert_eq!(said.contains("--by cgroup do not tell"), warns, "{said}");
        }
    });
}

//! How a run ends: signals, closed pipes, full disks, missing privileges; exit codes 0, 0, 1 and 3.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::harness::{ended, in_time, live, quiet, tw_trace};
use crate::run::Tracer;
use crate::traffic::Traffic;

const COUNT: u32 = 10;

#[test]
fn signals_end_with_a_clean_summary() {
    live("signals_end_with_a_clean_summary", || {
        let _quiet = quiet();
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let mut traffic = Traffic::scenarios(&["client_first"], COUNT);
            let tracer = Tracer::of_netns(traffic.netns, &[]);
            traffic.go(1);
            tracer.signal(signal);
            let run = tracer.finish();
            run.assert_clean();
            assert_eq!(run.summary["entered"], COUNT, "{signal}: {}", run.summary);
            assert_eq!(run.summary["live"], COUNT, "{signal}: {}", run.summary);
        }
    });
}

/// `tw-trace trace --json | head -1`
#[test]
fn a_closed_pipe_is_a_normal_end() {
    live("a_closed_pipe_is_a_normal_end", || {
        let _quiet = quiet();
        let mut traffic = Traffic::scenarios(&["client_first"], COUNT);
        let mut child = Command::new(tw_trace())
            .args(["trace", "--json", "--netns", &traffic.netns.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("running tw-trace");
        let mut header = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("its standard output"));
        in_time(child.id(), || stdout.read_line(&mut header)).expect("the header");
        drop(stdout);
        traffic.go(1);
        let output = ended(child);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
    });
}

#[test]
fn a_full_disk_is_an_error() {
    live("a_full_disk_is_an_error", || {
        let _quiet = quiet();
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let child = Command::new(tw_trace())
            .args(["trace", "--json", "--duration", "5s"])
            .stdout(full)
            .stderr(Stdio::piped())
            .spawn()
            .expect("running tw-trace");
        let output = ended(child);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("No space left"), "{stderr}");
    });
}

#[test]
fn without_privileges_the_missing_one_is_named() {
    live("without_privileges_the_missing_one_is_named", || {
        const NOBODY: u32 = 65_534;
        // The build tree may not be open to others.
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("opening the folder");
        let copy = folder.path().join("tw-trace");
        // Not fs::copy: a process that another test starts meanwhile would inherit the file open for writing.
        assert!(Command::new("cp").arg(tw_trace()).arg(&copy).status().expect("running cp").success());
        let child = Command::new(&copy)
            .args(["trace", "--duration", "1s"])
            .uid(NOBODY)
            .gid(NOBODY)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("running tw-trace as nobody");
        let output = ended(child);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(stderr.contains("CAP_BPF"), "{stderr}");
    });
}

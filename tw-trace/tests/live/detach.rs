//! Whatever ends tw-trace, nothing of it stays in the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{FromRawFd, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{live, quiet};
use crate::run::Tracer;
use crate::traffic::Traffic;

#[test]
fn kill_nine_leaves_no_program_attached() {
    live("kill_nine_leaves_no_program_attached", || {
        let _quiet = quiet();
        let mut traffic = Traffic::scenarios(&["client_first"], 10);
        let tracer = Tracer::of_netns(traffic.netns, &[]);
        traffic.go(1);
        let programs = programs_of(tracer.child.id());
        assert!(!programs.is_empty(), "tw-trace holds BPF programs while it runs");
        assert!(programs.iter().all(|id| is_loaded(*id)), "{programs:?}");
        tracer.signal(Signal::SIGKILL);
        assert!(!tracer.finish().status.success());
        // The kernel frees programs after an RCU grace period.
        for _ in 0..50 {
            if !programs.iter().any(|id| is_loaded(*id)) {
                return;
            }
            sleep(Duration::from_millis(100));
        }
        panic!("5 s after kill -9 some of the programs {programs:?} are still loaded");
    });
}

/// The ids of the BPF programs that this process holds, itself or through links.
fn programs_of(pid: u32) -> BTreeSet<u32> {
    let mut programs = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the tracer's fdinfo").flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let ids = text.lines().filter_map(|line| line.strip_prefix("prog_id:"));
        programs.extend(ids.filter_map(|id| id.trim().parse::<u32>().ok()));
    }
    programs
}

/// Whether a BPF program of this id exists; ids are not given out twice.
fn is_loaded(id: u32) -> bool {
    const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
    // prog_id, next_id, open_flags of `union bpf_attr`.
    let attribute = [id, 0, 0];
    // SAFETY: bpf(2) reads as many bytes as it is told from an array that lives until the call returns.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_GET_FD_BY_ID, attribute.as_ptr(), size_of_val(&attribute))
    };
    if fd < 0 {
        return false;
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    true
}

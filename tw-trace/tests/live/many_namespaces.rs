//! Network namespaces in numbers, and those that no process is in: found, seeded and held against the kernel's counters within
//! a time and with few descriptors.

use std::fs::File;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, Builder, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};

use crate::churn::close_a_connection_here;
use crate::harness::{live, loud, quiet, tw_trace};
use crate::run::{SHORT, Tracer, ns};

const NAMESPACES: usize = 1_500;
/// Of them, with a socket in TIME_WAIT.
const WITH_SOCKETS: usize = 20;
/// Soft and hard.
const FILES: u64 = 256;
/// The searches and rounds of a start or a stop, and what else there is to do on a busy machine; it was 0.2 s each on a quiet
/// one.
const BOUND: Duration = Duration::from_secs(6);

/// A thread that stays in a network namespace of its own.
pub(crate) struct Held {
    inode: u64,
    /// Dropping it ends the thread.
    _stay: Sender<()>,
    thread: JoinHandle<()>,
}

impl Held {
    /// With so many sockets in TIME_WAIT.
    pub(crate) fn new(sockets: usize) -> Self {
        let (tell, told) = channel();
        let (stay, end): (Sender<()>, Receiver<()>) = channel();
        let thread = Builder::new().stack_size(64 << 10).spawn(move || {
            let inode = new_namespace(sockets);
            tell.send(inode).expect("the test waits");
            let _ended = end.recv();
        });
        let thread = thread.expect("a thread");
        Self { inode: told.recv().expect("its namespace"), _stay: stay, thread }
    }

    pub(crate) fn end(self) {
        let Self { inode: _, _stay, thread } = self;
        drop(_stay);
        thread.join().expect("the thread's end");
    }
}

/// Of the calling thread; returns its inode.
fn new_namespace(sockets: usize) -> u64 {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of its own");
    (0..sockets).for_each(|_| close_a_connection_here());
    xtask::netns::inode().expect("its inode").into()
}

#[test]
fn many_namespaces_are_gone_through_in_time_and_with_few_files() {
    live("many_namespaces_are_gone_through_in_time_and_with_few_files", || {
        let _loud = loud();
        let held: Vec<Held> = (0..NAMESPACES).map(|at| Held::new(usize::from(at < WITH_SOCKETS))).collect();
        let mut command = Command::new(tw_trace());
        command.args(["trace", "--json", "--events", "tw_exit"]);
        let began = Instant::now();
        let mut tracer = Tracer::spawn(limited(command));
        let start = began.elapsed();
        let mut held = held.into_iter();
        let seeded: Vec<u64> = held
            .by_ref()
            .take(WITH_SOCKETS)
            .map(|one| {
                let inode = one.inode;
                one.end();
                inode
            })
            .collect();
        // Removing a namespace ends its sockets.
        tracer.read_until(SHORT, |events| {
            seeded.iter().all(|inode| events.iter().any(|event| ns(&event["netns"]) == *inode))
        });
        let began = Instant::now();
        let run = tracer.interrupt();
        let stop = began.elapsed();
        println!("start {start:?}, stop {stop:?}");
        assert!(run.status.success(), "{}", run.stderr);
        for inode in seeded {
            let exits = run.of("tw_exit");
            let exit = exits.iter().find(|exit| ns(&exit["netns"]) == inode);
            let exit = exit.unwrap_or_else(|| panic!("no end in {inode}: {} {}", run.header, run.summary));
            assert_eq!(exit["reason"], "netns_gone", "{exit}");
        }
        assert_eq!(run.summary["balanced"], true, "{}", run.summary);
        let said = format!("{} {} {}", run.header, run.summary, run.stderr);
        assert!(!said.contains("Too many open files") && !said.contains("could not be opened"), "{said}");
        assert!(start < BOUND && stop < BOUND, "start {start:?}, stop {stop:?}");
        held.for_each(Held::end);
    });
}

/// With a limit on open files that cannot be raised.
fn limited(mut command: Command) -> Command {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: between fork and exec, a system call.
    unsafe { command.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_NOFILE, FILES, FILES)?)) };
    command
}

#[test]
fn a_namespace_that_only_a_descriptor_holds_is_seeded() {
    live("a_namespace_that_only_a_descriptor_holds_is_seeded", || {
        let _quiet = quiet();
        let (descriptor, inode) = thread::spawn(|| {
            let inode = new_namespace(1);
            (File::open("/proc/thread-self/ns/net").expect("a descriptor of it"), inode)
        })
        .join()
        .expect("a namespace");
        let mut tracer = Tracer::start(&["--events", "tw_exit"]);
        drop(descriptor);
        tracer.read_until(SHORT, |events| events.iter().any(|event| ns(&event["netns"]) == inode));
        let run = tracer.interrupt();
        assert!(run.status.success(), "{}", run.stderr);
        let exits = run.of("tw_exit");
        let exit = exits.iter().find(|exit| ns(&exit["netns"]) == inode);
        assert_eq!(exit.expect("its end")["reason"], "netns_gone", "{exit:?}");
    });
}

//! A CPU goes offline: its timers are moved to another one, and no time-wait socket ends or begins by that.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use xtask::netns::in_new_netns;

use crate::harness::{live, loud};
use crate::run::{Run, Tracer};
use crate::skip::skip;

const COUNT: u64 = 200;
const CPU: usize = 1;

/// CPU 1, offline until this is dropped.
struct Offline(&'static Path);

impl Offline {
    /// `None` where it cannot be taken offline.
    fn take() -> Option<Self> {
        let file = Path::new("/sys/devices/system/cpu/cpu1/online");
        let is_online = fs::read_to_string(file).is_ok_and(|online| online.trim() == "1");
        (is_online && fs::write(file, "0").is_ok()).then_some(Self(file))
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        let _ = fs::write(self.0, "1");
    }
}

#[test]
fn timers_of_a_cpu_that_goes_offline_go_on() {
    const NAME: &str = "timers_of_a_cpu_that_goes_offline_go_on";
    live(NAME, || {
        let _loud = loud();
        if !Path::new("/sys/devices/system/cpu/cpu1/online").exists() {
            return skip(NAME, "there is no CPU 1 that can be taken offline");
        }
        let Some([trace, wheel]) = in_new_netns("hotplug", |inode| Ok(moved(inode))).expect("a namespace")
        else {
            return skip(NAME, "CPU 1 could not be taken offline");
        };
        assert_eq!(trace.summary["sockets"]["entered"], COUNT, "{}", trace.summary);
        assert_eq!(trace.summary["sockets"]["live"], COUNT, "{}", trace.summary);
        assert_eq!(trace.of("tw_exit").len(), 0, "{:?}", trace.events);
        assert_eq!(trace.of("tw_rearm").len(), 0, "{:?}", trace.events);
        assert_eq!(trace.summary["balanced"], true, "{}", trace.summary);
        assert_eq!((&wheel.summary["entered"], &wheel.summary["live"]), (&COUNT.into(), &COUNT.into()));
        assert_eq!(wheel.summary["balanced"], true, "{}", wheel.summary);
    });
}

fn moved(inode: u32) -> Option<[Run; 2]> {
    let netns = inode.to_string();
    let events = ["trace", "--json", "--events", "tw_enter,tw_rearm,tw_exit", "--netns", &netns];
    let tracers = [Tracer::command(&events), Tracer::command(&["wheel", "--json", "--netns", &netns])];
    let everywhere = affinity();
    run_on(&only(CPU));
    close_some();
    run_on(&everywhere);
    let offline = Offline::take()?;
    std::thread::sleep(Duration::from_millis(500));
    drop(offline);
    Some(tracers.map(|tracer| {
        tracer.signal(Signal::SIGINT);
        tracer.finish()
    }))
}

fn affinity() -> CpuSet {
    nix::sched::sched_getaffinity(Pid::from_raw(0)).expect("the own CPUs")
}

fn only(cpu: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(cpu).expect("a CPU");
    set
}

fn run_on(cpus: &CpuSet) {
    sched_setaffinity(Pid::from_raw(0), cpus).expect("CPUs to run on");
}

fn close_some() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    for _ in 0..COUNT {
        let client = TcpStream::connect(address).expect("a connection");
        let (server, _) = listener.accept().expect("the other end");
        drop(client);
        drop(server);
    }
}

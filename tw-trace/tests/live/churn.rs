//! What a local user can make without end fills no table for good: network namespaces that come and go.

use std::io::Read as _;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use crate::harness::{live, loud};
use crate::run::{Tracer, ns};

/// Ten times as many as make user space take ledgers out of the kernel side's map.
const NAMESPACES: u64 = 1_300;
/// Some 300 namespaces a second: the map is looked at once a second, and has room for a thousand or more.
const PAUSE: Duration = Duration::from_millis(3);
/// A line for each of them was 139 kB for 303.
const LONGEST_SUMMARY: usize = 16_000;

#[test]
fn namespaces_that_come_and_go_stay_in_the_sums() {
    live("namespaces_that_come_and_go_stay_in_the_sums", || {
        // The figures are those of the whole machine.
        let _loud = loud();
        let tracer = Tracer::start(&["--events", "tw_enter,tw_exit"]);
        for _ in 0..NAMESPACES {
            thread::spawn(close_a_connection).join().expect("a thread in a namespace of its own");
            thread::sleep(PAUSE);
        }
        let run = tracer.interrupt();
        assert!(run.status.success(), "{}", run.stderr);
        let summary = &run.summary;
        let entered = ns(&summary["sockets"]["entered"]);
        assert!(entered >= NAMESPACES, "{summary}");
        // One more for each change from FIN_WAIT2 to TIME_WAIT.
        let made = ns(&summary["records"]["tw_enter"]["made"]);
        assert!((entered..=entered + ns(&summary["rearms"])).contains(&made), "{summary}");
        assert_eq!(summary["balanced"], true, "{summary}");
        assert!(summary["notes"]["netns_map_full"].is_null(), "{summary}");
        assert!(summary.to_string().len() < LONGEST_SUMMARY, "{summary}");
    });
}

/// In a new namespace, which ends with this thread.
pub(crate) fn close_a_connection() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of its own");
    close_a_connection_here();
}

/// In the calling thread's new namespace.
pub(crate) fn close_a_connection_here() {
    xtask::netns::set_up("lo").expect("its loopback up");
    let listener = TcpListener::bind("127.0.0.1:0").expect("listening");
    let mut client = TcpStream::connect(listener.local_addr().expect("its address")).expect("connecting");
    let (server, _) = listener.accept().expect("accepting");
    client.shutdown(Shutdown::Write).expect("closing");
    drop(server);
    assert_eq!(client.read(&mut [0]).expect("reading to the end"), 0);
}

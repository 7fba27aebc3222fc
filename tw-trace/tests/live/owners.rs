//! Whose a connection is: the process that closes it, whatever its threads are called and whoever the kernel lets do it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::thread;

use nix::sys::signal::Signal;
use xtask::netns::in_new_netns;

use crate::harness::{live, quiet};
use crate::run::{Run, Tracer};
use crate::skip::skip;

const IPPROTO_MPTCP: libc::c_int = 262;

/// What ps shows of this process.
fn own_name() -> String {
    fs::read_to_string("/proc/self/comm").expect("the own name").trim().to_owned()
}

/// Traces what `make` does in a namespace of its own, with more options of `trace`.
fn traced(more: &[&str], make: impl FnOnce() + Send) -> Run {
    let _quiet = quiet();
    in_new_netns("owners", move |inode| {
        let mut tracer = Tracer::of_netns(u64::from(inode), more);
        make();
        tracer.read_until(std::time::Duration::from_secs(2), |_| false);
        tracer.signal(Signal::SIGINT);
        Ok(tracer.finish())
    })
    .expect("a namespace")
}

fn close_one() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let client = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
    let (mut server, _) = listener.accept().expect("the other end");
    drop(client);
    server.read_to_end(&mut Vec::new()).expect("its end");
}

#[test]
fn a_thread_with_a_name_of_its_own_is_its_process() {
    live("a_thread_with_a_name_of_its_own_is_its_process", || {
        let name = own_name();
        // This test runs on a thread that is called after it, and starts another.
        let run = traced(&["--comm", &name], || {
            thread::scope(|scope| {
                thread::Builder::new()
                    .name("http-worker-7".into())
                    .spawn_scoped(scope, close_one)
                    .expect("a thread");
            });
            close_one();
        });
        let enters = run.of("tw_enter");
        assert_eq!(enters.len(), 2, "{:?}", run.events);
        assert!(enters.iter().all(|event| event["comm"] == *name), "{enters:?}");
    });
}

/// The kernel's worker closes the subflows of an MPTCP connection.
#[test]
fn an_mptcp_connection_is_closed_by_its_process() {
    const NAME: &str = "an_mptcp_connection_is_closed_by_its_process";
    live(NAME, || {
        if fs::read_to_string("/proc/sys/net/mptcp/enabled").map_or(true, |is| is.trim() != "1") {
            return skip(NAME, "this kernel has no MPTCP, or it is off");
        }
        let run = traced(&[], || (0..4).for_each(|_| close_one_of_mptcp()));
        let enters = run.of("tw_enter");
        assert_eq!(enters.len(), 4, "{:?}", run.events);
        let name = own_name();
        for event in enters {
            assert_eq!(
                (&event["comm"], &event["pid"]),
                (&name.clone().into(), &std::process::id().into()),
                "{event}"
            );
        }
    });
}

fn close_one_of_mptcp() {
    let socket = || {
        // SAFETY: makes a descriptor, which nobody else owns.
        unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM, IPPROTO_MPTCP)) }
    };
    let listener = TcpListener::from(socket());
    let any = nix::sys::socket::SockaddrIn::new(127, 0, 0, 1, 0);
    nix::sys::socket::bind(listener.as_raw_fd(), &any).expect("an address");
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(4).expect("a backlog"))
        .expect("listening");
    let mut client = TcpStream::from(socket());
    let port = listener.local_addr().expect("its address").port();
    nix::sys::socket::connect(client.as_raw_fd(), &nix::sys::socket::SockaddrIn::new(127, 0, 0, 1, port))
        .expect("a connection");
    let (mut server, _) = listener.accept().expect("the other end");
    // Data both ways: only then is it MPTCP for good.
    client.write_all(b"x").expect("sending");
    server.read_exact(&mut [0]).expect("receiving");
    server.write_all(b"y").expect("sending");
    client.read_exact(&mut [0]).expect("receiving");
    drop(client);
    server.read_to_end(&mut Vec::new()).expect("its end");
}

/// close() after shutdown() sets the state again: its time must not be counted twice.
#[test]
fn the_times_in_the_states_add_up_to_the_life() {
    live("the_times_in_the_states_add_up_to_the_life", || {
        let run = traced(&["--events", "state"], || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
            let client =
                TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
            let (server, _) = listener.accept().expect("the other end");
            client.shutdown(std::net::Shutdown::Write).expect("half a close");
            thread::sleep(std::time::Duration::from_millis(50));
            drop(client);
            thread::sleep(std::time::Duration::from_millis(50));
            drop(server);
        });
        let own: Vec<_> = run.of("state").into_iter().filter(|event| event["raddr"] == "127.0.0.1").collect();
        let again: Vec<_> = own.iter().filter(|event| event["old"] == event["new"]).collect();
        assert!(!again.is_empty(), "no state was set again: {own:?}");
        assert!(again.iter().all(|event| event["dwell_ns"].is_null()), "{again:?}");
        let cookie = &again[0]["cookie"];
        let life: Vec<_> = own.iter().filter(|event| event["cookie"] == *cookie).collect();
        let at = |event: &serde_json::Value| event["mono_ns"].as_u64().expect("a time");
        let lasted = at(life[life.len() - 1]) - at(life[0]);
        let sum: u64 = life.iter().filter_map(|event| event["dwell_ns"].as_u64()).sum();
        assert_eq!(sum, lasted, "{life:?}");
    });
}

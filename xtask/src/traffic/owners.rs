//! Whose a connection is: who closes it, by another thread, another process, by exit, by a signal, or by io_uring.

use std::fs;
use std::net::TcpStream;
use std::os::fd::IntoRawFd;
use std::process;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use io_uring::{IoUring, opcode, squeue, types};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::close;

use super::cgroup::Cgroup;
use super::child::Child;
use super::expect::ONE;
use super::mirror::Family::V4;
use super::mirror::Mirror;
use super::peer::{Peer, Say};
use super::scenario::Scenario;
use super::scene::{Lacking, Scene};
use super::tcp::{CLIENT_COMM, act_as, finish};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("close_by_thread", 8090, "another thread of the process closes", ONE, by_thread),
    Scenario::new(
        "close_after_fork",
        8091,
        "the child closes what it inherited, after its parent",
        ONE,
        after_fork,
    ),
    Scenario::new("close_by_exit", 8092, "the child ends with the connection open", ONE, by_exit),
    Scenario::new("close_by_sigkill", 8093, "the child is killed with the connection open", ONE, by_sigkill),
    Scenario::new(
        "shutdown_then_close",
        8094,
        "the process shuts down, its child closes",
        ONE,
        shutdown_then_close,
    ),
    Scenario::new(
        "container",
        8095,
        "a process with cgroup and namespaces of its own closes",
        ONE,
        container,
    ),
    Scenario::new("close_by_io_uring", 8096, "an io_uring closes, as it is submitted to", ONE, by_io_uring),
    Scenario::new("close_by_io_worker", 8097, "a worker thread of an io_uring closes", ONE, by_io_worker),
];

fn by_thread(scene: &mut Scene) -> Result<()> {
    closed_by(scene, |client, _| {
        let closer = thread::Builder::new().name("tw-closer".to_owned()).spawn(move || drop(client))?;
        closer.join().map_err(|_| anyhow!("the thread panicked"))
    })
}

fn after_fork(scene: &mut Scene) -> Result<()> {
    closed_by(scene, closed_by_child)
}

fn by_exit(scene: &mut Scene) -> Result<()> {
    // Its end closes it, not its code.
    closed_by(scene, |client, scene| left_to_child(client, scene)?.go_on())
}

fn by_sigkill(scene: &mut Scene) -> Result<()> {
    closed_by(scene, |client, scene| left_to_child(client, scene)?.kill())
}

/// The FIN is the process's, whoever closes what is left.
fn shutdown_then_close(scene: &mut Scene) -> Result<()> {
    closed_by(scene, |client, scene| {
        finish(&client)?;
        closed_by_child(client, scene)
    })
}

/// A child inherits the connection and closes it, after its parent.
fn closed_by_child(client: TcpStream, scene: &mut Scene) -> Result<()> {
    let child = Child::fork("tw-child", || {
        drop(client);
        Ok(())
    })?;
    scene.cast.push((child.pid(), "child"));
    child.go_on()
}

/// A child that holds the connection, with nothing in its code to close it; its parent does not hold it any more.
fn left_to_child(client: TcpStream, scene: &mut Scene) -> Result<Child> {
    let client = client.into_raw_fd();
    let child = Child::fork("tw-child", || Ok(()))?;
    scene.cast.push((child.pid(), "child"));
    close(client)?;
    Ok(child)
}

/// As container runtimes do it: a cgroup, then new namespaces, then the first process in them.
fn container(scene: &mut Scene) -> Result<()> {
    closed_by(scene, |client, scene| {
        let cgroup = Cgroup::make()?;
        scene.cgroups.push((cgroup.path.clone(), "container"));
        let processes = cgroup.folder.join("cgroup.procs");
        scene.keep(cgroup);
        // Only children are in the new process namespace.
        unshare(CloneFlags::CLONE_NEWPID).context("a process namespace")?;
        let child = Child::fork("tw-contained", || {
            fs::write(processes, "0").context("entering the cgroup")?;
            let namespaces = CloneFlags::CLONE_NEWCGROUP | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
            unshare(namespaces).context("namespaces")?;
            ensure!(process::id() == 1, "not the first process of its namespace");
            drop(client);
            Ok(())
        })?;
        scene.cast.push((child.pid(), "contained"));
        child.go_on()
    })
}

fn by_io_uring(scene: &mut Scene) -> Result<()> {
    close_through_ring(scene, squeue::Flags::empty())
}

fn by_io_worker(scene: &mut Scene) -> Result<()> {
    close_through_ring(scene, squeue::Flags::ASYNC)
}

fn close_through_ring(scene: &mut Scene, flags: squeue::Flags) -> Result<()> {
    let mut ring =
        IoUring::new(4).map_err(|error| Lacking(format!("this kernel gives no io_uring: {error}")))?;
    closed_by(scene, |client, _| {
        let close = opcode::Close::new(types::Fd(client.into_raw_fd())).build().flags(flags);
        // SAFETY: the entry names a descriptor that nobody else owns any more, and no memory.
        unsafe { ring.submission().push(&close) }.context("a new ring is full")?;
        ring.submit_and_wait(1).context("submitting to the ring")?;
        let result = ring.completion().next().context("the ring completed nothing")?.result();
        ensure!(result == 0, "close: {}", std::io::Error::from_raw_os_error(-result));
        Ok(())
    })
}

/// A client of the kernel's, closed by whoever; its peer closes with the answer to that.
fn closed_by(scene: &mut Scene, close: impl FnOnce(TcpStream, &mut Scene) -> Result<()>) -> Result<()> {
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    let (client, mut peer) = Peer::of_client(&mirror, V4, scene.port)?;
    close(client, scene)?;
    peer.hear("FIN", |tcp| tcp.fin)?;
    peer.say(Say::FinAck)?;
    peer.hear("the last ACK", |tcp| tcp.ack && !tcp.fin).map(drop)
}

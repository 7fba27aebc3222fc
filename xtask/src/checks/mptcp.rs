//! An MPTCP connection is closed by a thread of the kernel: its owner is the process that closed the MPTCP socket.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;

use anyhow::{Result, ensure};
use nix::sys::socket::{Backlog, SockaddrStorage, bind, connect, listen};

use super::Check;
use super::enter;
use super::need::{Need, mptcp};
use super::stage::{Stage, Told, Verdict};
use crate::traffic::tcp::act_as;

pub(super) const CHECK: Check = Check { name: "mptcp", needs: &[Need::Mptcp], awaits: None, run };

const COUNT: usize = 8;
const COMM: &str = "tw-mptcp";

fn run(stage: &Stage) -> Result<Vec<Verdict>> {
    stage.traced(enter::nothing, || (0..COUNT).try_for_each(|_| close_one()), |told, &()| judge(told))
}

fn close_one() -> Result<()> {
    act_as(COMM)?;
    let listener = TcpListener::from(mptcp()?);
    bind(listener.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from(([127, 0, 0, 1], 0))))?;
    listen(&listener, Backlog::new(4)?)?;
    let mut client = TcpStream::from(mptcp()?);
    connect(client.as_raw_fd(), &SockaddrStorage::from(listener.local_addr()?))?;
    let (mut server, _) = listener.accept()?;
    // Data both ways: only then is it MPTCP for good.
    client.write_all(b"x")?;
    server.read_exact(&mut [0])?;
    server.write_all(b"y")?;
    client.read_exact(&mut [0])?;
    drop(client);
    server.read_to_end(&mut Vec::new())?;
    Ok(())
}

fn judge(told: &Told) -> Result<()> {
    // A second tw_enter comes where the time-wait socket stood in for FIN_WAIT2 first.
    let entered = &told.summary["sockets"]["entered"];
    ensure!(entered == COUNT, "{entered} sockets entered TIME_WAIT, not {COUNT}");
    let enters = told.all("tw_enter");
    ensure!(enters.len() >= COUNT, "{} times tw_enter, fewer than sockets", enters.len());
    for enter in enters {
        ensure!(enter["comm"] == COMM && enter["pid"] == std::process::id(), "not its owner: {enter}");
    }
    told.balanced()
}

//! DCCP's time-wait sockets have the timers of TCP's (up to Linux 6.15): they are none of ours.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{Backlog, SockaddrIn, SockaddrStorage, accept, bind, connect, getsockname, listen};

use super::Check;
use super::enter;
use super::need::{Need, dccp};
use super::stage::{Stage, Told, Verdict};

pub(super) const CHECK: Check = Check { name: "dccp", needs: &[Need::Dccp], awaits: None, run };

const DCCP: usize = 3;
const TCP: usize = 2;

fn run(stage: &Stage) -> Result<Vec<Verdict>> {
    stage.traced(enter::nothing, close_all, |told, &()| judge(told))
}

fn close_all() -> Result<()> {
    (0..DCCP).try_for_each(|_| close_dccp())?;
    (0..TCP).try_for_each(|_| close_tcp())
}

/// The client's CLOSE is answered by a RESET when the server closes too: the client is in TIMEWAIT.
fn close_dccp() -> Result<()> {
    let listener = socket()?;
    bind(listener.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from(([127, 0, 0, 1], 0))))?;
    listen(&listener, Backlog::new(4)?)?;
    let client = socket()?;
    connect(client.as_raw_fd(), &getsockname::<SockaddrIn>(listener.as_raw_fd())?)?;
    // SAFETY: the descriptor was just made, and nobody else owns it.
    let server = unsafe { OwnedFd::from_raw_fd(accept(listener.as_raw_fd())?) };
    drop(client);
    drop(server);
    Ok(())
}

/// With a service code, which both ends must agree on.
fn socket() -> Result<OwnedFd> {
    const SOL_DCCP: libc::c_int = 269;
    const DCCP_SOCKOPT_SERVICE: libc::c_int = 2;
    let (socket, code) = (dccp()?, 42_u32.to_be());
    let length = size_of_val(&code) as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `code`, which lives until the call returns.
    let status = unsafe {
        libc::setsockopt(socket.as_raw_fd(), SOL_DCCP, DCCP_SOCKOPT_SERVICE, (&raw const code).cast(), length)
    };
    Errno::result(status).context("DCCP_SOCKOPT_SERVICE")?;
    Ok(socket)
}

fn close_tcp() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    drop(client);
    server.read_to_end(&mut Vec::new())?;
    Ok(())
}

fn judge(told: &Told) -> Result<()> {
    let entered = &told.summary["sockets"]["entered"];
    ensure!(entered == TCP, "{entered} sockets entered TIME_WAIT, of TCP {TCP} did");
    let passed_over = &told.summary["notes"]["dccp"];
    ensure!(passed_over.as_u64() >= Some(DCCP as u64), "{passed_over} timers of DCCP were seen");
    told.balanced()
}

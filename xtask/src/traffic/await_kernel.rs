//! Waiting for what the kernel does in its own time: softirqs may be put off when the machine is busy.

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::counters::{living, tcp_ext};

/// The kernel acts at once; this is for machines that are busy otherwise.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Nothing comes within this time: nothing will.
pub(super) const SILENCE: Duration = Duration::from_millis(50);
const LOOK: Duration = Duration::from_millis(2);

/// The connection that comes.
pub(super) fn accept(listener: &TcpListener) -> Result<TcpStream> {
    pending(listener)?;
    Ok(listener.accept().context("accept")?.0)
}

/// Until there is a connection to be accepted.
pub(super) fn pending(listener: &TcpListener) -> Result<()> {
    ready(listener, PollFlags::POLLIN).context("no connection comes")
}

/// Until connect() is through.
pub(super) fn connected(stream: &TcpStream) -> Result<()> {
    ready(stream, PollFlags::POLLOUT).context("connect() does not get through")
}

fn ready(of: &impl AsFd, flags: PollFlags) -> Result<()> {
    let timeout = PollTimeout::try_from(PATIENCE)?;
    ensure!(poll(&mut [PollFd::new(of.as_fd(), flags)], timeout)? > 0, "nothing within {PATIENCE:?}");
    Ok(())
}

/// Until the peer's FIN is there.
pub(super) fn end_of(stream: &mut TcpStream) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.read_to_end(&mut Vec::new()).context("waiting for the peer's FIN")?;
    Ok(())
}

/// Until the peer's RST is there, or the kernel has given up; what it was.
pub(super) fn error_of(stream: &TcpStream) -> Result<io::Error> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(error) = stream.take_error()? {
            return Ok(error);
        }
        sleep(LOOK);
    }
    bail!("the connection did not fail within {PATIENCE:?}")
}

/// Until this namespace has that many time-wait sockets.
pub(super) fn time_waits(wanted: u64) -> Result<()> {
    reached("time-wait sockets", wanted, living)
}

/// Until this namespace's kernel has counted that many in TcpExt `name`.
pub(super) fn counted(name: &str, wanted: u64) -> Result<()> {
    reached(name, wanted, || tcp_ext(name))
}

fn reached(what: &str, wanted: u64, figure: impl Fn() -> Result<u64>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while figure()? < wanted {
        if Instant::now() > deadline {
            bail!("{what}: {} within {PATIENCE:?}, not {wanted}", figure()?);
        }
        sleep(LOOK);
    }
    Ok(())
}

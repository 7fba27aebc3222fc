//! A forked child that does one thing when told to.

use std::io::{PipeWriter, Read, Write, pipe};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::tcp::act_as;

pub(super) struct Child {
    pid: Pid,
    /// It goes on when a byte comes.
    cue: PipeWriter,
}

impl Child {
    /// A child under this name. It holds what `work` has captured; the parent gives its own up.
    pub(super) fn fork(name: &str, work: impl FnOnce() -> Result<()>) -> Result<Self> {
        let (mut waiting, cue) = pipe()?;
        let (mut named, mut ready) = pipe()?;
        // SAFETY: players have one thread: no lock can be held by one that is not in the child.
        match unsafe { fork() }.context("fork")? {
            ForkResult::Parent { child } => {
                drop(ready);
                named.read_exact(&mut [0]).context("the child did not begin")?;
                Ok(Self { pid: child, cue })
            }
            ForkResult::Child => {
                drop(cue);
                let done = act_as(name)
                    .and_then(|()| ready.write_all(b"!").context("telling the parent"))
                    .and_then(|()| waiting.read_exact(&mut [0]).context("waiting for the parent"))
                    .and_then(|()| work());
                if let Err(error) = &done {
                    eprintln!("{name}: {error:#}");
                }
                // SAFETY: ends this process without running what the parent has to run.
                unsafe { libc::_exit(i32::from(done.is_err())) }
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Lets it do its work, and waits for its end.
    pub(super) fn go_on(mut self) -> Result<()> {
        self.cue.write_all(b"!")?;
        let status = waitpid(self.pid, None)?;
        ensure!(matches!(status, WaitStatus::Exited(_, 0)), "the child: {status:?}");
        Ok(())
    }

    /// Kills it before it does its work.
    pub(super) fn kill(self) -> Result<()> {
        kill(self.pid, Signal::SIGKILL)?;
        let status = waitpid(self.pid, None)?;
        ensure!(matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _)), "the child: {status:?}");
        Ok(())
    }
}

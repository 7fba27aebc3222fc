//! A tracer as a process: started, known to be ready, looked at, stopped; it does not outlive a failed round.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use xtask::stuck::threads;

use super::programs;

/// How one knows that a tracer is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// The first bytes of its output, which it does not hold back.
    Output,
    /// A program of its hangs on something.
    Attached,
    /// It starts to look at once.
    None,
}

const PATIENCE: Duration = Duration::from_secs(60);
/// How often one is asked to end before it is killed.
const TIMES: u32 = 5;

pub(crate) struct Process {
    /// None once it was waited for.
    pid: Option<Pid>,
    began: Instant,
    name: String,
}

impl Process {
    pub(crate) fn start(mut command: Command, output: &File, errors: &File) -> Result<Self> {
        let name = crate::sh::shown(&command);
        command.stdin(Stdio::null());
        command.stdout(output.try_clone().context("the output's file")?);
        command.stderr(errors.try_clone().context("the file of errors")?);
        // SAFETY: between fork and exec this makes one system call and allocates nothing.
        unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        let began = Instant::now();
        let child = command.spawn().with_context(|| format!("starting `{name}`"))?;
        Ok(Self { pid: Some(Pid::from_raw(child.id().cast_signed())), began, name })
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid.map(|pid| pid.as_raw().cast_unsigned())
    }

    /// Returns when it is at work, with how long that took.
    pub(crate) fn wait_until_ready(&mut self, sign: Sign, output: &Path) -> Result<Duration> {
        loop {
            let ready = match (sign, self.pid()) {
                (Sign::Output, _) => output.metadata().context("the tracer's output")?.len() > 0,
                (Sign::Attached, Some(pid)) => programs::attached(pid),
                (Sign::Attached, None) | (Sign::None, _) => true,
            };
            if ready {
                return Ok(self.began.elapsed());
            }
            if self.ended()? {
                bail!("`{}` ended before it was ready", self.name);
            }
            if self.began.elapsed() > PATIENCE {
                bail!("`{}` was not ready within {} s", self.name, PATIENCE.as_secs());
            }
            sleep(Duration::from_millis(1));
        }
    }

    /// Whether it has ended by itself.
    fn ended(&mut self) -> Result<bool> {
        use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
        let Some(pid) = self.pid else { return Ok(true) };
        // It stays to be waited for.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let status = waitid(Id::Pid(pid), flags).with_context(|| format!("waiting for `{}`", self.name))?;
        Ok(status != WaitStatus::StillAlive)
    }

    /// Ctrl-C; what it used, with its children, once it has ended well. bpftrace 0.17 was seen to sleep on: one that
    /// does is asked again.
    pub(crate) fn stop(&mut self) -> Result<libc::rusage> {
        let pid = self.pid.context("it was stopped already")?;
        let (mut asked, mut times) = (None, 0);
        while !self.ended()? {
            if asked.is_none_or(|asked: Instant| asked.elapsed() > PATIENCE) {
                if times == TIMES {
                    let threads = threads(pid.as_raw().cast_unsigned());
                    bail!("`{}` did not end, though asked {TIMES} times\n{threads}", self.name);
                }
                kill(pid, Signal::SIGINT).with_context(|| format!("stopping `{}`", self.name))?;
                (asked, times) = (Some(Instant::now()), times + 1);
            }
            sleep(Duration::from_millis(1));
        }
        self.pid = None;
        wait_with_usage(pid).with_context(|| format!("stopping `{}`", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            let _ = kill(pid, Signal::SIGKILL);
            let _ = wait_with_usage(pid);
        }
    }
}

fn wait_with_usage(pid: Pid) -> Result<libc::rusage> {
    let mut status = 0;
    // SAFETY: `rusage` is plain old data, all zeroes is a valid one.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both outlive the call, and the child is ours.
    if unsafe { libc::wait4(pid.as_raw(), &raw mut status, 0, &raw mut usage) } != pid.as_raw() {
        return Err(std::io::Error::last_os_error()).context("wait4");
    }
    if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != 0 {
        bail!("it ended with status {status:#x}");
    }
    Ok(usage)
}

pub(crate) fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 / 1e6
}

/// Gives the command a tracefs where those who want one look for it, without mounting anything for the machine.
pub(crate) fn with_tracefs(command: &mut Command) {
    let enter = || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        for (kind, place) in [("debugfs", "/sys/kernel/debug"), ("tracefs", "/sys/kernel/tracing")] {
            // One that is there already is just as good, and one that cannot be had is told by who needs it.
            let _ = mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>);
        }
        Ok(())
    };
    // SAFETY: between fork and exec this makes system calls with texts that are in place, and allocates nothing.
    unsafe { command.pre_exec(enter) };
}

/// Has the command run in the network namespace of this process.
pub(crate) fn in_netns_of(command: &mut Command, pid: u32) -> Result<()> {
    let path = format!("/proc/{pid}/ns/net");
    let namespace = File::open(&path).with_context(|| format!("opening {path}"))?;
    // SAFETY: between fork and exec this makes one system call and allocates nothing.
    unsafe { command.pre_exec(move || Ok(setns(&namespace, CloneFlags::CLONE_NEWNET)?)) };
    Ok(())
}

//! Namespaces that a tracer is started in, made between fork and exec: guests have no `unshare` that knows them all.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Result;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use nix::unistd::write;

/// Changes nothing.
#[expect(clippy::unnecessary_wraps, reason = "as all that prepare a command")]
pub(super) fn nothing(_: &mut Command) -> Result<()> {
    Ok(())
}

/// A time namespace whose clocks are by so many seconds ahead (or behind, if negative).
pub(super) fn time_namespace(command: &mut Command, seconds: i64) {
    let offsets = format!("monotonic {seconds} 0\nboottime {seconds} 0\n");
    // SAFETY: between fork and exec this makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(move || Ok(enter_time_namespace(offsets.as_bytes())?)) };
}

/// unshare() is for the children to come; before 6.1 exec() did not take the process there either, setns() does.
fn enter_time_namespace(offsets: &[u8]) -> nix::Result<()> {
    const NEW_TIME: CloneFlags = CloneFlags::from_bits_retain(libc::CLONE_NEWTIME);
    unshare(NEW_TIME)?;
    // One write for both clocks: the kernel takes whole files only.
    let file = open(c"/proc/self/timens_offsets", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write(&file, offsets)?;
    let namespace =
        open(c"/proc/self/ns/time_for_children", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    setns(&namespace, NEW_TIME)
}

/// The pid namespace of the process that the file names, with a /proc that shows it.
///
/// setns() is for the children to come, and the tracer is to be one: so the calling thread enters, and can have no
/// threads of its own from then on.
pub(super) fn pid_namespace(command: &mut Command, of: &File) -> Result<()> {
    setns(of, CloneFlags::CLONE_NEWPID)?;
    // SAFETY: between fork and exec this makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(|| own_proc().map_err(io::Error::from)) };
    Ok(())
}

/// A mount namespace whose /proc is that of the process's pid namespace.
pub(super) fn own_proc() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, c"/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some(c"proc"), c"/proc", Some(c"proc"), MsFlags::empty(), None::<&str>)
}

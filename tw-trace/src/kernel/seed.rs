//! Sockets that were in TIME_WAIT before the start: the TCP iterator, once per network namespace.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _},
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya::programs::Iter;

use super::{
    load::Loaded,
    plan::{Attach, Plan},
};

/// `enum bpf_cmd` and `enum bpf_attach_type` of include/uapi/linux/bpf.h.
const LINK_CREATE: libc::c_long = 28;
const ITER_CREATE: libc::c_long = 33;
const TRACE_ITER: u32 = 28;

/// The iterator programs of a plan, for any thread: they walk the network namespace that the thread is in.
pub struct Walks(Vec<OwnedFd>);

impl Loaded {
    pub fn walks(&mut self, plan: &Plan) -> Result<Walks> {
        let rows = plan.programs.iter().filter(|row| matches!(row.attach, Attach::Iterator(_)));
        let programs = rows.map(|row| {
            let program = self.ebpf.program_mut(row.name).context("a loaded program is gone")?;
            let program: &mut Iter = program.try_into()?;
            Ok(program.fd()?.as_fd().try_clone_to_owned()?)
        });
        programs.collect::<Result<_>>().map(Walks)
    }
}

impl Walks {
    /// There is nothing to look for.
    pub fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs the programs over all sockets of the calling thread's namespace.
    pub fn go(&self) -> io::Result<()> {
        self.0.iter().try_for_each(walk)
    }
}

/// The program writes nothing: reading to the end runs it over every socket.
fn walk(program: &OwnedFd) -> io::Result<()> {
    // prog_fd, target_fd, attach_type, flags; then link_fd, flags.
    let link = bpf(LINK_CREATE, &[program.as_raw_fd() as u32, 0, TRACE_ITER, 0])?;
    // The namespace is that of the thread that makes the iterator (`bpf_iter_init_seq_net`, 5.10 – 7.3).
    let mut sockets = File::from(bpf(ITER_CREATE, &[link.as_raw_fd() as u32, 0])?);
    let mut nothing = [0u8; 4096];
    loop {
        match sockets.read(&mut nothing) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // After a million sockets, the kernel wants to be asked again (MAX_ITER_OBJECTS in kernel/bpf/bpf_iter.c,
            // 5.9 – 7.3).
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// One of the calls of bpf(2) that make a descriptor. What is not given of its `union bpf_attr` is zero.
fn bpf(command: libc::c_long, attributes: &[u32]) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads as many bytes as it is told, and copies them before it returns.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(attributes)) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

//! Sockets that were in TIME_WAIT before the start: the TCP iterator, once per network namespace.

use std::io::{ErrorKind, Read as _};

use anyhow::{Context as _, Result};
use aya::programs::Iter;

use super::{
    load::Loaded,
    netns::{Netns, run_in},
    plan::{Attach, Plan},
};

impl Loaded {
    /// Seeds the sockets of one namespace; `iter/tcp` walks the one in which it is opened.
    pub fn seed(&mut self, plan: &Plan, namespace: &Netns) -> Result<()> {
        let rows = plan.programs.iter().filter(|row| matches!(row.attach, Attach::Iterator(_)));
        for row in rows {
            let program = self.ebpf.program_mut(row.name).context("a loaded program is gone")?;
            let program: &mut Iter = program.try_into()?;
            run_in(namespace, || walk(program))?
                .with_context(|| format!("seeding the sockets of network namespace {}", namespace.inode))?;
        }
        Ok(())
    }
}

/// The program writes nothing: reading to the end runs it over every socket.
fn walk(program: &mut Iter) -> Result<()> {
    let link = program.attach()?;
    let mut sockets = program.take_link(link)?.into_file()?;
    let mut nothing = [0u8; 4096];
    loop {
        match sockets.read(&mut nothing) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // After a million sockets, the kernel wants to be asked again (MAX_ITER_OBJECTS in kernel/bpf/bpf_iter.c,
            // 5.9 – 7.3).
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

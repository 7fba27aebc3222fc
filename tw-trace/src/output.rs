//! Standard output as a sink writes it: no line buffering, and a reader that does not read cannot hold us.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd as _, BorrowedFd},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{pipe, stop::Stop};

/// A pipe that is ready takes this much without blocking (PIPE_BUF, pipe(7)).
const PIECE: usize = 4096;
/// How often a write that waits for its reader looks whether it is to stop.
const LOOK: u16 = 100;
/// How long a reader may keep us waiting once we are to stop.
const PATIENCE: Duration = Duration::from_secs(1);

pub struct Output {
    file: File,
    /// A regular file never keeps its writer waiting for a reader.
    waits: Waits,
    stop: Stop,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    Never,
    ForReader,
}

impl Output {
    pub fn stdout(stop: Stop) -> io::Result<Self> {
        let file = match pipe::without_blocking(io::stdout().as_fd()) {
            Some(pipe) => pipe,
            None => File::from(io::stdout().as_fd().try_clone_to_owned()?),
        };
        let waits = if file.metadata()?.is_file() { Waits::Never } else { Waits::ForReader };
        Ok(Self { file, waits, stop })
    }

    /// Waits until a piece can be written without blocking.
    fn wait(&self) -> io::Result<()> {
        let mut asked_at = None;
        loop {
            if !events(self.file.as_fd(), PollFlags::POLLOUT, LOOK.into())?.is_empty() {
                return Ok(());
            }
            if self.stop.is_asked() && asked_at.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "nobody reads it, so what was left is missing there; nothing is attached any more",
                ));
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.waits {
            Waits::Never => self.file.write(bytes),
            Waits::ForReader => loop {
                self.wait()?;
                match self.file.write(&bytes[..bytes.len().min(PIECE)]) {
                    // Somebody else has filled it since it was ready.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => break result,
                }
            },
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Whether standard output still has a reader: a closed pipe shows only when somebody looks.
pub fn is_read() -> bool {
    events(io::stdout().as_fd(), PollFlags::empty(), PollTimeout::ZERO)
        .is_ok_and(|events| !events.contains(PollFlags::POLLERR))
}

fn events(fd: BorrowedFd<'_>, wanted: PollFlags, timeout: PollTimeout) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(fd, wanted)];
    match poll(&mut fds, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(fds[0].revents().unwrap_or(PollFlags::empty())),
        Err(error) => Err(error.into()),
    }
}

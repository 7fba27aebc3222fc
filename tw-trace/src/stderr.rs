//! Standard error: a reader that does not read it cannot hold the run.

use std::{
    fmt,
    fs::File,
    io::{self, Write as _},
    os::fd::AsFd as _,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{escape, pipe};

/// A pipe that is ready takes this much without blocking (PIPE_BUF, pipe(7)).
const PIECE: usize = 4096;
/// How long a reader may keep a message waiting, in milliseconds. After one message was dropped there is no waiting.
const PATIENCE_MS: u16 = 200;

/// Messages that were dropped, for want of a reader, since the last one that was written.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Writes one message, with the newline that ends it. A reader who keeps it waiting loses it, and is told so with the
/// next message; where standard error is closed, there is nobody to tell.
pub fn line(message: fmt::Arguments<'_>) {
    let message = escape::lines(&message.to_string());
    let dropped = DROPPED.load(Ordering::Relaxed);
    let text = match dropped {
        0 => format!("{message}\n"),
        _ => format!(
            "tw-trace: {dropped} messages before this one were not read in time, and dropped\n{message}\n"
        ),
    };
    if write(text.as_bytes(), if dropped == 0 { PATIENCE_MS } else { 0 }) {
        DROPPED.fetch_sub(dropped, Ordering::Relaxed);
    } else {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes a part of a line, for a terminal whose user watches. Nothing is lost without it.
pub fn progress(text: fmt::Arguments<'_>) {
    write(text.to_string().as_bytes(), 0);
}

/// Panics write here too: their message must not wait for a reader either.
pub fn take_panics() {
    std::panic::set_hook(Box::new(|panic| {
        line(format_args!(
            "tw-trace: {panic}\nThis is a fault of tw-trace: please report it with this text."
        ));
    }));
}

/// False if nobody took it within so many milliseconds.
fn write(mut bytes: &[u8], mut patience_ms: u16) -> bool {
    while !bytes.is_empty() {
        if !is_ready(patience_ms) {
            return false;
        }
        match write_some(&bytes[..bytes.len().min(PIECE)]) {
            Ok(0) => return true,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Somebody else has filled it since it was ready: it is waited for once more.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && patience_ms > 0 => patience_ms /= 2,
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
    true
}

fn write_some(bytes: &[u8]) -> io::Result<usize> {
    static PIPE: OnceLock<Option<File>> = OnceLock::new();
    match PIPE.get_or_init(|| pipe::without_blocking(io::stderr().as_fd())).as_ref() {
        Some(mut pipe) => pipe.write(bytes),
        None => io::stderr().write(bytes),
    }
}

fn is_ready(patience_ms: u16) -> bool {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    // An error of poll() says nothing about the reader: the write will.
    poll(&mut fds, PollTimeout::from(patience_ms)).map_or(true, |ready| ready > 0)
}

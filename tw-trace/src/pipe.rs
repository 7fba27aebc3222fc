//! Pipes that others hold too: written to without blocking, which is nobody else's affair.

use std::{
    fs::{File, OpenOptions},
    os::{
        fd::{AsRawFd as _, BorrowedFd},
        unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    },
};

/// The pipe behind `fd`, opened once more, without blocking: O_NONBLOCK set on `fd` itself would hold for every process that
/// has it from the same parent. A pipe that was ready may be full when it is written to, since others write to it as well.
///
/// `None` for what is no pipe, and where /proc or the pipe's owner does not let us.
pub fn without_blocking(fd: BorrowedFd<'_>) -> Option<File> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    if !std::fs::metadata(&path).ok()?.file_type().is_fifo() {
        return None;
    }
    OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path).ok()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Write as _, pipe},
        os::fd::AsFd as _,
    };

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    use super::*;

    #[test]
    fn a_full_pipe_is_an_error_for_us_and_stays_as_it_was_for_others() {
        let (_reader, writer) = pipe().unwrap();
        let mut ours = without_blocking(writer.as_fd()).unwrap();
        let error = loop {
            if let Err(error) = ours.write(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let flags = OFlag::from_bits_retain(fcntl(&writer, FcntlArg::F_GETFL).unwrap());
        assert!(!flags.contains(OFlag::O_NONBLOCK));
    }

    #[test]
    fn what_is_no_pipe_is_left_alone() {
        let file = tempfile::tempfile().unwrap();
        assert!(without_blocking(file.as_fd()).is_none());
    }
}

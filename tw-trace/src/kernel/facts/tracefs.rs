//! tracefs where nobody has mounted it: a mount of our own that no path leads to, gone when it is closed.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// `FSCONFIG_CMD_CREATE` (include/uapi/linux/mount.h, 5.2 – 7.3).
const CREATE: libc::c_uint = 6;

/// What opening `available_filter_functions` says, on a mount made for the question. `NotFound` where there can be
/// none: no privilege (CAP_SYS_ADMIN), no tracefs.
pub(super) fn filter_functions() -> io::Result<()> {
    let folder = detached().map_err(|_| io::ErrorKind::NotFound)?;
    // SAFETY: a path that ends with NUL; the descriptor is open.
    opened(unsafe {
        libc::openat(
            folder.as_raw_fd(),
            c"available_filter_functions".as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC,
        )
        .into()
    })
    .map(drop)
}

fn detached() -> io::Result<OwnedFd> {
    let no_flags: libc::c_uint = 0;
    // SAFETY: a name that ends with NUL.
    let context = opened(unsafe { libc::syscall(libc::SYS_fsopen, c"tracefs".as_ptr(), no_flags) })?;
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: this command takes neither key nor value.
    let created = unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), CREATE, none, none, 0) };
    if created < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: no pointers.
    opened(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), no_flags, no_flags) })
}

fn opened(result: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(result) {
        // SAFETY: a descriptor that the kernel has just made for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

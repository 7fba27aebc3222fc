//! What a search for namespaces did not look at, and what follows from that.

use std::io;

/// What a search did not look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unlooked {
    /// Processes that do not show their namespace: only who has CAP_SYS_PTRACE may ask.
    pub refused: usize,
    /// /proc does not even list the processes of other users (`hidepid`).
    pub hidden: bool,
    /// Processes, or their threads and open files, for which there was no time.
    pub late: usize,
    /// Why anything else could not be looked at, such as a limit on open files; the first of such errors.
    pub failed: Option<String>,
}

impl Unlooked {
    /// A namespace that was not found is gone.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn take_note(&mut self, error: &io::Error) {
        // A process or thread that has ended, a name that is stale or not a network namespace.
        let is_over = [io::ErrorKind::NotFound, io::ErrorKind::InvalidInput].contains(&error.kind())
            || error.raw_os_error() == Some(libc::ESRCH);
        if error.kind() == io::ErrorKind::PermissionDenied {
            self.refused += 1;
        } else if !is_over {
            self.failed.get_or_insert_with(|| error.to_string());
        }
    }
}

impl Unlooked {
    /// What a header says of them.
    pub fn blind_spots(&self) -> impl Iterator<Item = String> {
        const CONSEQUENCE: &str =
            "what was in TIME_WAIT in network namespaces that nothing else shows is not reported";
        self.causes().map(|cause| format!("{cause}: {CONSEQUENCE}"))
    }

    /// Why nobody knows whether a namespace is gone that was not found again.
    pub fn unfound(&self) -> String {
        let causes: Vec<String> = self.causes().collect();
        format!("not found again, though perhaps not gone ({})", causes.join("; "))
    }

    fn causes(&self) -> impl Iterator<Item = String> {
        let processes = |count: usize, one: &str, many: &str| match count {
            0 => None,
            1 => Some(format!("1 process {one}")),
            many_processes => Some(format!("{many_processes} processes {many}")),
        };
        let hidden = "/proc lists only some processes here (hidepid, and no CAP_SYS_PTRACE)".to_owned();
        [
            processes(
                self.refused,
                "hides its network namespace (CAP_SYS_PTRACE is needed)",
                "hide their network namespace (CAP_SYS_PTRACE is needed)",
            ),
            self.hidden.then_some(hidden),
            processes(
                self.late,
                "was not looked at for want of time, or not at all its threads and open files",
                "were not looked at for want of time, or not at all their threads and open files",
            ),
            self.failed.as_ref().map(|why| format!("not everything could be looked at: {why}")),
        ]
        .into_iter()
        .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_from_what_has_ended() {
        let mut unlooked = Unlooked::default();
        for code in [libc::ENOENT, libc::ESRCH] {
            unlooked.take_note(&io::Error::from_raw_os_error(code));
        }
        assert!(unlooked.is_nothing());
        for code in [libc::EACCES, libc::EPERM, libc::EMFILE, libc::ENFILE] {
            unlooked.take_note(&io::Error::from_raw_os_error(code));
        }
        assert_eq!(unlooked.refused, 2);
        assert!(
            unlooked.failed.as_ref().is_some_and(|why| why.contains("Too many open files")),
            "{unlooked:?}"
        );
        let said: Vec<String> = unlooked.blind_spots().collect();
        assert!(said[0].starts_with("2 processes hide their network namespace"), "{said:?}");
        assert!(unlooked.unfound().contains("perhaps not gone (2 processes hide"), "{}", unlooked.unfound());
    }
}

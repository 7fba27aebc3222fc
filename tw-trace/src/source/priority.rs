//! Which thread the scheduler takes first: nice values, of one thread at a time. Without CAP_SYS_NICE a thread has the
//! priority that others have, and nothing here has an effect.

use std::io;

/// The highest there is for what is no real-time thread.
const FIRST: libc::c_int = -20;
/// Before ordinary processes, after what an administrator has put first.
const BEFORE_MOST: libc::c_int = -10;

/// Puts the calling thread before all others, for work that is short.
pub fn come_first() {
    let _ = set(FIRST);
}

/// The calling thread's priority, raised and given back.
pub struct Priority {
    ordinary: libc::c_int,
    is_raised: bool,
}

impl Priority {
    pub fn of_this_thread() -> Self {
        // SAFETY: takes numbers only. On Linux, 0 is the calling thread.
        Self { ordinary: unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }, is_raised: false }
    }

    /// Puts the calling thread before most others, if it is not there already.
    pub fn raise(&mut self) {
        if !self.is_raised && self.ordinary > BEFORE_MOST {
            self.is_raised = set(BEFORE_MOST).is_ok();
        }
    }

    /// Puts it back among the others.
    pub fn give_back(&mut self) {
        if self.is_raised {
            self.is_raised = set(self.ordinary).is_err();
        }
    }
}

/// Of the calling thread.
fn set(nice: libc::c_int) -> io::Result<()> {
    // SAFETY: as above.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nice() -> libc::c_int {
        Priority::of_this_thread().ordinary
    }

    #[test]
    fn one_thread_is_raised_and_gives_it_back() {
        let before = nice();
        let theirs = std::thread::spawn(|| {
            let mut priority = Priority::of_this_thread();
            priority.raise();
            let raised = nice();
            priority.give_back();
            (priority.is_raised, raised, nice())
        });
        let (is_left, raised, after) = theirs.join().unwrap();
        if raised == before {
            eprintln!("tw-trace-skip: one_thread_is_raised_and_gives_it_back: needs CAP_SYS_NICE");
        } else {
            assert_eq!(raised, BEFORE_MOST);
        }
        assert_eq!((is_left, after, nice()), (false, before, before));
    }
}

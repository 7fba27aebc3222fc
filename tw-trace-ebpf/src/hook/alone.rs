//! State changes that interrupt each other on one CPU: two levels, each with a scratch of its own; none is told twice, and
//! none is lost.
//!
//! A change in process context is made by who holds the socket (`lock_sock`) and can be interrupted by softirqs. All other
//! changes are made with softirqs off, so nothing of TCP interrupts them. Hence there are two levels, and one change at a
//! time on each. Docs/ARCHITECTURE.md, "A change that interrupts another", goes through the cases.

use tw_trace_common::counter::Counter;

use crate::{
    count::count,
    maps::{CPU, Place},
    memory::Memory,
    sock,
};

/// A change of state is made on one of two levels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// The process that holds the socket makes it, and a change of the other level can interrupt it.
    Process,
    /// It is made with softirqs off, and nothing of TCP interrupts it.
    Softirq,
}

impl Level {
    /// `lock_sock_nested` sets `sk->sk_lock.owned`, and softirqs leave a socket alone that is held
    /// (`sock_owned_by_user`, include/net/sock.h, 5.10 – 7.3).
    #[inline(always)]
    pub(crate) fn of<M: Memory>(sk: u64) -> Self {
        if sock::is_owned::<M>(sk) { Self::Process } else { Self::Softirq }
    }

    /// Its scratch.
    #[inline(always)]
    pub(crate) const fn place(self) -> Place {
        match self {
            Self::Process => Place::SetState,
            Self::Softirq => Place::SetStateInSoftirq,
        }
    }
}

/// Does the work, unless it interrupts other work of its level on this CPU: then it is counted as lost.
#[inline(always)]
pub(crate) fn alone(level: Level, work: impl FnOnce()) {
    let Some(cpu) = CPU.get_ptr_mut(0) else { return };
    // SAFETY: a map value of this CPU, and aligned words of it, here and below.
    let telling = unsafe {
        match level {
            Level::Process => &raw mut (*cpu).telling,
            Level::Softirq => &raw mut (*cpu).telling_in_softirq,
        }
    };
    // SAFETY: as above.
    if unsafe { telling.replace(1) } != 0 {
        count(Counter::Recursion);
        return;
    }
    work();
    // SAFETY: as above.
    unsafe { *telling = 0 };
}

/// Leaves a mark for the second program: the first one has this change, `sk` to `new`.
#[inline(always)]
pub(crate) fn mark(level: Level, sk: u64, new: u8) {
    if let (Level::Softirq, Some(cpu)) = (level, CPU.get_ptr_mut(0)) {
        // SAFETY: a map value of this CPU, used with softirqs off.
        unsafe {
            (*cpu).marked = sk;
            (*cpu).marked_as = new.into();
        }
    }
}

/// Tells the second program that the first one did not take this change, and removes the first one's mark. The kernel does
/// not run a program inside itself (tracing programs since 5.12, trace events since 6.1); in process context it always runs
/// the first one.
#[inline(always)]
pub(crate) fn is_unmarked(level: Level, sk: u64, new: u8) -> bool {
    let (Level::Softirq, Some(cpu)) = (level, CPU.get_ptr_mut(0)) else { return false };
    // SAFETY: as in `mark`.
    unsafe {
        let is_marked = (*cpu).marked == sk && (*cpu).marked_as == u64::from(new);
        (*cpu).marked = 0;
        !is_marked
    }
}

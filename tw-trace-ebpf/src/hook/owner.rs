//! Who closed the connection of a time-wait socket: found at the full socket, kept in the entry, given to records.

use tw_trace_common::{event::Owner, followed::TimeWait};

use crate::{
    ends,
    followed::Followed,
    globals,
    maps::{CLOSERS, Scratch},
    sockets, words,
};

/// Puts into the scratch who closed the connection, from the full socket.
#[inline(always)]
pub(crate) fn find(scratch: &mut Scratch) {
    if !globals::owners() {
        return;
    }
    if globals::keyless() {
        let closer = ends::key(scratch);
        let Some(owner) = CLOSERS.get_ptr(closer) else {
            words::zero(&mut scratch.owner);
            return;
        };
        // SAFETY: a map value; it is only written again when the connection is made anew.
        words::copy(&mut scratch.owner, unsafe { &*owner });
        let _ = CLOSERS.remove(closer);
        return;
    }
    let cookie = scratch.conn.cookie;
    match sockets::find(cookie) {
        // SAFETY: the full socket is locked by who turns it into a time-wait socket.
        Some(socket) if cookie != 0 => words::copy(&mut scratch.owner, unsafe { &(*socket).owner }),
        _ => words::zero(&mut scratch.owner),
    }
}

/// What a time-wait socket's entry will keep of its owner, but for the name: zeroes that are there already, where owners
/// are not asked for.
#[inline(always)]
pub(crate) fn keep(to: &mut TimeWait, from: &Owner) {
    if !globals::owners() {
        return;
    }
    to.cgroup = from.cgroup;
    to.pid = from.pid;
}

/// The owner as records have it.
#[inline(always)]
pub(crate) fn give(followed: &Followed, to: &mut Owner) {
    if !globals::owners() {
        return;
    }
    let from = followed.socket();
    to.cgroup = from.cgroup;
    to.pid = from.pid;
    to.spare = 0;
    if let Some(name) = followed.name() {
        // SAFETY: sixteen bytes behind a word and two numbers, so aligned to words; volatile as in `words::copy`.
        unsafe { (&raw mut to.comm).cast::<[u64; 2]>().write_volatile(name.read_volatile()) }
    }
}

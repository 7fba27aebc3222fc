//! Full sockets by cookie: the state they are in, since when, and whose they are.
//!
//! Cookies are handed out one after the other (`gen_cookie_next`, 5.12 – 7.3), so their low bits spread sockets over
//! an array better than any hash, and an array costs neither allocation nor lock. A socket that outlives so many
//! others that its place is wanted again moves to a hash table.

use tw_trace_common::counter::Counter;

use crate::{
    count::count,
    globals::{CONFIG, load},
    maps::{OLD_SOCKETS, SOCKETS, Socket},
};

/// The entry of a socket, if there is one.
#[inline(always)]
pub(crate) fn find(cookie: u64) -> Option<*mut Socket> {
    in_place(cookie).or_else(|| OLD_SOCKETS.get_ptr_mut(cookie))
}

/// The entry of a socket that cannot have been displaced yet.
#[inline(always)]
pub(crate) fn in_place(cookie: u64) -> Option<*mut Socket> {
    let place = place(cookie)?;
    // SAFETY: a map value; a socket's entry is only used under that socket's lock.
    (unsafe { (*place).cookie } == cookie).then_some(place)
}

/// Makes room for a socket that has no entry; the caller fills in all but the cookie.
#[inline(always)]
pub(crate) fn insert(cookie: u64) -> Option<*mut Socket> {
    let place = place(cookie)?;
    // SAFETY: as in `find`. Two sockets that want one place at one moment could mix theirs: their cookies would
    // have to lie a whole array apart, and both change state within some nanoseconds.
    unsafe {
        let old = (*place).cookie;
        let displaced: &Socket = &*place;
        if old != 0 && OLD_SOCKETS.insert(old, displaced, 0).is_err() {
            count(Counter::SocketMapFull);
        }
        (*place).cookie = cookie;
    }
    Some(place)
}

/// Forgets a socket that was found.
#[inline(always)]
pub(crate) fn remove(cookie: u64, found: *mut Socket) {
    if place(cookie) == Some(found) {
        // SAFETY: as in `find`.
        unsafe { (*found).cookie = 0 };
    } else {
        let _ = OLD_SOCKETS.remove(cookie);
    }
}

#[inline(always)]
fn place(cookie: u64) -> Option<*mut Socket> {
    SOCKETS.get_ptr_mut(cookie as u32 & load(&CONFIG.socket_mask))
}

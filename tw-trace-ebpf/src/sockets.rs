//! Full sockets by cookie: the state they are in, since when, and whose they are.
//!
//! Cookies are handed out one after the other (`gen_cookie_next`, 5.12 – 7.3), so their low bits spread sockets over
//! an array better than any hash, and an array costs neither allocation nor lock. A socket that outlives so many
//! others that its place is wanted again moves to a hash table.
//!
//! Where programs cannot ask for cookies, the key is the socket's address, hashed for the place. An address is used
//! again, but its entry goes with CLOSE; one that stayed because a CLOSE was missed is in the wrong state.

use tw_trace_common::{
    counter::Counter,
    event::{NOBODY, Owner},
};

use crate::{
    count::count,
    globals::{self, CONFIG, load},
    maps::{OLD_SOCKETS, SOCKETS, Scratch, Socket},
};

/// A socket's address as a key. The verifier of 5.10 lets nobody calculate with what it knows to be a pointer, and
/// forgets it in the memory of a map.
#[inline(always)]
pub(crate) fn address(sk: u64, scratch: &mut Scratch) -> u64 {
    let place = &raw mut scratch.address;
    // SAFETY: a field of the scratch.
    unsafe {
        place.write_volatile(sk);
        place.read_volatile()
    }
}

/// An owner to point at where none is known.
pub(crate) static NOBODY_KNOWN: Owner = NOBODY;

/// The entry of a socket, if there is one.
#[inline(always)]
pub(crate) fn find(key: u64) -> Option<*mut Socket> {
    in_place(key).or_else(|| OLD_SOCKETS.get_ptr_mut(key))
}

/// The entry of a socket that cannot have been displaced yet.
#[inline(always)]
pub(crate) fn in_place(key: u64) -> Option<*mut Socket> {
    let place = place(key)?;
    // SAFETY: a map value; a socket's entry is only used under that socket's lock.
    (unsafe { (*place).key } == key).then_some(place)
}

/// Makes room for a socket that has no entry; the caller fills in all but the key.
#[inline(always)]
pub(crate) fn insert(key: u64) -> Option<*mut Socket> {
    let place = place(key)?;
    // SAFETY: as in `find`. Two sockets that want one place at one moment could mix theirs: their cookies
    // would have to lie a whole array apart (addresses: to hash alike, one in the array's length), and both change
    // state within some nanoseconds.
    unsafe {
        let old = (*place).key;
        let displaced: &Socket = &*place;
        if old != 0 && OLD_SOCKETS.insert(old, displaced, 0).is_err() {
            count(Counter::SocketMapFull);
        }
        (*place).key = key;
    }
    Some(place)
}

/// Forgets a socket that was found.
#[inline(always)]
pub(crate) fn remove(key: u64, found: *mut Socket) {
    if place(key) == Some(found) {
        // SAFETY: as in `find`.
        unsafe { (*found).key = 0 };
    } else {
        let _ = OLD_SOCKETS.remove(key);
    }
}

#[inline(always)]
fn place(key: u64) -> Option<*mut Socket> {
    let spread = if globals::keyless() { spread(key) } else { key };
    SOCKETS.get_ptr_mut(spread as u32 & load(&CONFIG.socket_mask))
}

/// Spreads addresses of sockets, which are multiples of a large power of two, over the low half of a number.
#[inline(always)]
pub(crate) fn spread(address: u64) -> u64 {
    /// 2^64 / φ.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    address.wrapping_mul(SPREAD) >> 32
}

//! What the last connections and their owners were told as: most records repeat one.

use tw_trace_common::event::{Conn, Owner};

/// Connections that are kept; both ends of one have cookies that are close together.
const PLACES: usize = 16;

/// What each of them is told as, by the low bits of its cookie.
#[derive(Default)]
pub(super) struct Kept<T> {
    places: [Place<T>; PLACES],
}

#[derive(Default)]
struct Place<T> {
    /// None before the first.
    of: Option<(Conn, Owner)>,
    told: T,
}

impl<T> Kept<T> {
    /// The place of the connection, where `tell` has put what it is told as, over that of another one.
    pub(super) fn place(&mut self, conn: &Conn, owner: &Owner, tell: impl FnOnce(&mut T)) -> usize {
        let index = conn.cookie as usize % PLACES;
        let place = &mut self.places[index];
        if place.of.as_ref().is_none_or(|of| of.0 != *conn || of.1 != *owner) {
            place.of = Some((*conn, *owner));
            tell(&mut place.told);
        }
        index
    }

    /// What the connection at this place is told as.
    pub(super) fn at(&self, place: usize) -> &T {
        &self.places[place].told
    }
}

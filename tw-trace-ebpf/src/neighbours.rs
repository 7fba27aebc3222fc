//! What is known of a line of the table of time-wait sockets without touching it: see `followed`.

use tw_trace_common::followed::{NEIGHBOURS, Neighbours};

use crate::maps::{NEIGHBOURHOODS, fetch_add};

/// Where a line is among its neighbours.
#[derive(Clone, Copy)]
pub(crate) struct Spot {
    neighbours: *mut Neighbours,
    place: usize,
}

impl Spot {
    #[inline(always)]
    pub(crate) fn of(index: u32) -> Option<Self> {
        let neighbours = NEIGHBOURHOODS.get_ptr_mut(index / NEIGHBOURS)?;
        Some(Self { neighbours, place: (index % NEIGHBOURS) as usize })
    }

    #[inline(always)]
    pub(crate) fn tag(self) -> *mut u8 {
        // SAFETY: within the tags.
        unsafe { (&raw mut (*self.neighbours).tags).cast::<u8>().add(self.place) }
    }

    #[inline(always)]
    pub(crate) fn claims(self) -> Lane {
        // SAFETY: a map value.
        Lane { bytes: unsafe { (&raw mut (*self.neighbours).claims).cast() }, place: self.place }
    }

    #[inline(always)]
    pub(crate) fn elsewhere(self) -> Lane {
        // SAFETY: a map value.
        Lane { bytes: unsafe { (&raw mut (*self.neighbours).elsewhere).cast() }, place: self.place }
    }
}

/// One of [`NEIGHBOURS`] bytes, changed by additions to its word, which is what the machine has; the lowest byte is the
/// first. It does not overflow into the next: 255 CPUs would have to add at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Lane {
    bytes: *mut u8,
    place: usize,
}

impl Lane {
    #[inline(always)]
    pub(crate) fn read(self) -> u8 {
        // SAFETY: a byte of a map.
        unsafe { self.bytes.add(self.place).read_volatile() }
    }

    #[inline(always)]
    pub(crate) fn add(self, by: i64) {
        // SAFETY: an aligned word of a map.
        let word = unsafe { self.bytes.add(self.place & !7).cast::<u64>() };
        fetch_add(word, by << (self.place % 8 * 8));
    }
}

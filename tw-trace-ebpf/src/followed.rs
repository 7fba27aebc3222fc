//! Living time-wait sockets by address: a cache line each, in an array.
//!
//! A million of them are more memory than a cache holds. The slab allocator hands out sockets that lie side by side, and
//! so do their lines: to follow one more touches what was touched just before, however many there are. A hash table
//! scatters them.
//!
//! The array has more lines than there may be sockets (user space: `kernel/sizing.rs`), but the machine has more memory
//! than the array has lines, so two sockets may want one. The second takes another of its `CHOICES`, and is counted at
//! its home: where nobody is counted, a socket that is not at home is not followed. Tags tell what is in a line before it
//! is touched.
//!
//! A line is claimed, filled, and found from then on: by its tag and by its address. Events of one socket follow each other:
//! restarts are told under the lock of its timer's base, and an end follows the one time that the timer is taken off. Two
//! exceptions: the iterator (`hook::seed`), and a restart that only `__inet_twsk_schedule` tells (`hook::life`), which a
//! CPU may be telling when another one ends the socket; should a third take the line in that moment, the restart is
//! booked on its socket.
//!
//! That a line is not anybody's is written before the claim goes. x86-64 shows that in this order; arm64 may show it some
//! nanoseconds later, when a next claim would have to be there already, and that socket would be counted as missed.

use tw_trace_common::{
    event::Owner,
    followed::{Line, NEIGHBOURS, Neighbours, TimeWait},
};

use crate::{
    globals::{self, CONFIG, load},
    maps::{NAMES, NEIGHBOURHOODS, Scratch, TIME_WAITS, fetch_add},
    sockets, words,
};

/// Lines that a socket may have. With four lines in seven taken, all of them are taken for one socket in a million.
const CHOICES: u32 = 24;
/// No two sockets that are less than 64 GiB apart begin in one such unit, in sixteen bytes each: `struct tcp_timewait_sock`
/// has 240 or more in its slab (5.10 – 7.3; 248 and 256 were seen).
const UNIT: u32 = 15;
/// Sockets that stay together when they move.
const BLOCK: u32 = 16;
/// Sockets of one home that may be elsewhere: they are counted in a byte, to which CPUs add before they look.
const MOST_ELSEWHERE: u8 = 128;
const NOWHERE: u32 = u32::MAX;
/// 2^32 / φ, whose multiples spread over all numbers.
const SPREAD: u32 = 0x9e37_79b9;
const OTHER: u32 = 0x85eb_ca6b;

/// The address of a time-wait socket, to calculate with.
#[derive(Clone, Copy)]
pub(crate) struct Address(u64);

impl Address {
    #[inline(always)]
    pub(crate) fn of(tw: u64, scratch: &mut Scratch) -> Self {
        Self(sockets::address(tw, scratch))
    }

    #[inline(always)]
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    #[inline(always)]
    fn unit(self) -> u32 {
        (self.0 >> 4) as u32 / UNIT
    }

    /// The line that is its own.
    #[inline(always)]
    fn home(self) -> u32 {
        self.unit().checked_rem(lines()).unwrap_or(0)
    }

    /// One of the other lines, in any place of a block.
    #[inline(always)]
    fn choice(self, choice: u32) -> u32 {
        let unit = self.unit();
        // Multiplied twice, with a shift between: after one multiplication, who meets on one choice meets on all others.
        let hash = (unit / BLOCK).wrapping_add(choice.wrapping_mul(OTHER)).wrapping_mul(SPREAD);
        let hash = (hash ^ hash >> 15).wrapping_mul(OTHER);
        let block = (u64::from(hash) * u64::from(lines() / BLOCK)) >> 32;
        block as u32 * BLOCK + unit.wrapping_add(choice) % BLOCK
    }

    #[inline(always)]
    fn tag(self) -> u8 {
        (self.unit().wrapping_mul(SPREAD) >> 24) as u8 | 1
    }
}

#[inline(always)]
fn lines() -> u32 {
    load(&CONFIG.time_wait_lines)
}

/// A socket that is followed.
#[derive(Clone, Copy)]
pub(crate) struct Followed {
    index: u32,
    line: *mut Line,
}

impl Followed {
    /// What is known of it.
    #[inline(always)]
    pub(crate) fn socket(&self) -> &'static mut TimeWait {
        // SAFETY: a map value, which stays; changed by events of this socket, and marked by the iterator.
        unsafe { &mut (*self.line).socket }
    }

    /// The name of its owner, where owners are asked for.
    #[inline(always)]
    pub(crate) fn name(&self) -> Option<*mut [u64; 2]> {
        NAMES.get_ptr_mut(self.index)
    }

    #[inline(always)]
    fn keep_name(&self, owner: &Owner) {
        if !globals::owners() {
            return;
        }
        if let Some(name) = self.name() {
            // SAFETY: sixteen bytes behind a word and two numbers, so aligned to words; volatile as in `words::copy`.
            unsafe { name.write_volatile((&raw const owner.comm).cast::<[u64; 2]>().read_volatile()) }
        }
    }

    /// From now on it is found by this address and tag; by zeroes, not any more.
    #[inline(always)]
    fn label(&self, tw: u64, tag: u8) {
        if let Some(spot) = Spot::of(self.index) {
            // SAFETY: an aligned word and a byte of maps, of a line that is claimed.
            unsafe {
                (&raw mut (*self.line).tw).write_volatile(tw);
                spot.tag().write_volatile(tag);
            }
        }
    }

    /// Lets go of it: the line may be another socket's at once.
    #[inline(always)]
    pub(crate) fn remove(self, tw: Address) {
        if self.index != tw.home() {
            count_elsewhere(tw, -1);
        }
        self.label(0, 0);
        if let Some(spot) = Spot::of(self.index) {
            spot.claims().add(-1);
        }
    }
}

/// The entry of a socket, if it is followed.
#[inline(always)]
pub(crate) fn find(tw: Address) -> Option<Followed> {
    at(time_wait_line(tw.0))
}

/// Makes an entry for a socket that has none; none if there is no room.
#[inline(always)]
pub(crate) fn insert(tw: Address, socket: &TimeWait, owner: &Owner) -> Option<Followed> {
    let followed = at(time_wait_claim(tw.0))?;
    words::copy(followed.socket(), socket);
    followed.keep_name(owner);
    followed.label(tw.0, tw.tag());
    Some(followed)
}

#[inline(always)]
fn at(index: u32) -> Option<Followed> {
    TIME_WAITS.get_ptr_mut(index).map(|line| Followed { index, line })
}

/// The index of a socket's line, or [`NOWHERE`]. A global function, as is the next: the verifier looks at them once, and
/// not once for each way to a call.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn time_wait_line(tw: u64) -> u32 {
    let tw = Address(tw);
    let home = tw.home();
    if is_of(home, tw) {
        return home;
    }
    let Some(spot) = Spot::of(home) else { return NOWHERE };
    if spot.elsewhere().read() == 0 {
        return NOWHERE;
    }
    (1..CHOICES).map(|choice| tw.choice(choice)).find(|&index| is_of(index, tw)).unwrap_or(NOWHERE)
}

/// The index of a line that is the socket's from now on, or [`NOWHERE`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn time_wait_claim(tw: u64) -> u32 {
    let tw = Address(tw);
    let home = tw.home();
    if claim(home) {
        return home;
    }
    let Some(spot) = Spot::of(home) else { return NOWHERE };
    if spot.elsewhere().read() >= MOST_ELSEWHERE {
        return NOWHERE;
    }
    let Some(index) =
        (1..CHOICES).map(|choice| tw.choice(choice)).find(|&index| index != home && claim(index))
    else {
        return NOWHERE;
    };
    count_elsewhere(tw, 1);
    index
}

#[inline(always)]
fn is_of(index: u32, tw: Address) -> bool {
    let (Some(spot), Some(line)) = (Spot::of(index), TIME_WAITS.get_ptr(index)) else { return false };
    // SAFETY: a byte of a map, and an aligned word of one.
    unsafe { spot.tag().read_volatile() == tw.tag() && (&raw const (*line).tw).read_volatile() == tw.0 }
}

#[inline(always)]
fn count_elsewhere(tw: Address, by: i64) {
    if let Some(spot) = Spot::of(tw.home()) {
        spot.elsewhere().add(by);
    }
}

/// Takes a line if it is free. CPUs that find it so at one moment all add themselves, and it belongs to the one that then
/// finds itself alone, if any: there is no comparing and exchanging before 5.12.
#[inline(always)]
fn claim(index: u32) -> bool {
    let Some(spot) = Spot::of(index) else { return false };
    let claims = spot.claims();
    if claims.read() != 0 {
        return false;
    }
    claims.add(1);
    if claims.read() == 1 {
        return true;
    }
    claims.add(-1);
    false
}

/// Where a line is among its neighbours.
#[derive(Clone, Copy)]
struct Spot {
    neighbours: *mut Neighbours,
    place: usize,
}

impl Spot {
    #[inline(always)]
    fn of(index: u32) -> Option<Self> {
        let neighbours = NEIGHBOURHOODS.get_ptr_mut(index / NEIGHBOURS)?;
        Some(Self { neighbours, place: (index % NEIGHBOURS) as usize })
    }

    #[inline(always)]
    fn tag(self) -> *mut u8 {
        // SAFETY: within the tags.
        unsafe { (&raw mut (*self.neighbours).tags).cast::<u8>().add(self.place) }
    }

    #[inline(always)]
    fn claims(self) -> Lane {
        // SAFETY: a map value.
        Lane { bytes: unsafe { (&raw mut (*self.neighbours).claims).cast() }, place: self.place }
    }

    #[inline(always)]
    fn elsewhere(self) -> Lane {
        // SAFETY: a map value.
        Lane { bytes: unsafe { (&raw mut (*self.neighbours).elsewhere).cast() }, place: self.place }
    }
}

/// One of [`NEIGHBOURS`] bytes, changed by additions to its word, which is what the machine has; the lowest byte is the
/// first. It does not overflow into the next: a hundred CPUs would have to add at one moment.
#[derive(Clone, Copy)]
struct Lane {
    bytes: *mut u8,
    place: usize,
}

impl Lane {
    #[inline(always)]
    fn read(self) -> u8 {
        // SAFETY: a byte of a map.
        unsafe { self.bytes.add(self.place).read_volatile() }
    }

    #[inline(always)]
    fn add(self, by: i64) {
        // SAFETY: an aligned word of a map.
        let word = unsafe { self.bytes.add(self.place & !7).cast::<u64>() };
        fetch_add(word, by << (self.place % 8 * 8));
    }
}

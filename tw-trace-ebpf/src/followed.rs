//! Living time-wait sockets by address: a cache line each, in an array.
//!
//! A million of them are more memory than a cache holds. The slab allocator hands out sockets that lie side by side, and
//! so do their lines: to follow one more touches what was touched just before, however many there are. A hash table
//! scatters them.
//!
//! The array has more lines than there may be sockets (user space: `kernel/sizing.rs`), but the machine has more memory
//! than the array has lines, so two sockets may want one. The second takes another one of the home's `CHOICES`, and is
//! counted at home: who looks for a socket that is not there goes on only until all that are counted have been met. Tags
//! tell what is in a line before it is touched.
//!
//! A line is claimed, filled, and found from then on: by its tag and by its address. Events of one socket follow each other:
//! restarts are told under the lock of its timer's base, and an end follows the one time that the timer is taken off. Two
//! exceptions: the iterator (`hook::seed`), and a restart that only `__inet_twsk_schedule` tells (`hook::life`), which a
//! CPU may be telling when another one ends the socket; should a third take the line in that moment, the restart is
//! booked on its socket.
//!
//! A line's label goes before its claim does, and while a line is labelled it is counted. x86-64 shows that in this order;
//! arm64 may show it some nanoseconds later. A next claim, or a search for another socket of the same home, would have to
//! be there already, and that socket would be counted as missed.

use tw_trace_common::{
    event::Owner,
    followed::{Line, NEIGHBOURS, TimeWait},
};

use crate::{
    globals::{self, CONFIG, load},
    maps::{NAMES, Scratch, TIME_WAITS},
    neighbours::Spot,
    sockets, words,
};

/// Lines that a socket may have: all of them in different places of a neighbourhood. With four lines in seven taken, all of
/// them are taken for one socket in a million.
const CHOICES: u32 = 24;
/// No two sockets that are less than 64 GiB apart begin in one such unit, in sixteen bytes each: `struct tcp_timewait_sock`
/// has 240 or more in its slab (5.10 – 7.3; 248 and 256 were seen).
const UNIT: u32 = 15;
const NOWHERE: u32 = u32::MAX;
/// A bit of the tag of a line that is not its socket's home.
const AWAY: u8 = 1 << 7;
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

    /// What tells it from others at home.
    #[inline(always)]
    fn tag(self) -> u8 {
        (self.unit().wrapping_mul(SPREAD) >> 24) as u8 & !AWAY | 1
    }
}

/// One of the other lines for the sockets of this home: its neighbours go with it to another neighbourhood.
#[inline(always)]
fn choice(home: u32, choice: u32) -> u32 {
    // Multiplied twice, with a shift between: after one multiplication, who meets on one choice meets on all others.
    let hash = (home / NEIGHBOURS).wrapping_add(choice.wrapping_mul(OTHER)).wrapping_mul(SPREAD);
    let hash = (hash ^ hash >> 15).wrapping_mul(OTHER);
    let neighbourhood = (u64::from(hash) * u64::from(lines() / NEIGHBOURS)) >> 32;
    neighbourhood as u32 * NEIGHBOURS + home.wrapping_add(choice) % NEIGHBOURS
}

/// What tells the sockets of this home from others elsewhere.
#[inline(always)]
fn tag_away(home: u32) -> u8 {
    (home.wrapping_mul(SPREAD) >> 24) as u8 | AWAY
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
        self.label(0, 0);
        // In this order: who looks for another socket of this home counts those that it meets.
        if self.index != tw.home() {
            count_elsewhere(tw, -1);
        }
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
    let home = tw.home();
    followed.label(tw.0, if followed.index == home { tw.tag() } else { tag_away(home) });
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
    if tenant(home, tw.tag()) == tw.0 {
        return home;
    }
    let Some(spot) = Spot::of(home) else { return NOWHERE };
    let elsewhere = spot.elsewhere().read();
    if elsewhere == 0 {
        return NOWHERE;
    }
    let mut met = 0;
    for index in (1..CHOICES).map(|number| choice(home, number)) {
        let there = tenant(index, tag_away(home));
        if there == tw.0 {
            return index;
        }
        if there != 0 && Address(there).home() == home {
            met += 1;
            // One may have come or gone meanwhile. Should one of this home come and another one go while this loop is
            // between them, on other CPUs, the socket is missed, and counted.
            if met >= elsewhere.max(spot.elsewhere().read()) {
                return NOWHERE;
            }
        }
    }
    NOWHERE
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
    let Some(index) = (1..CHOICES).map(|number| choice(home, number)).find(|&index| claim(index)) else {
        return NOWHERE;
    };
    count_elsewhere(tw, 1);
    index
}

/// The address of the socket in a line, if it has this tag; else zero.
#[inline(always)]
fn tenant(index: u32, tag: u8) -> u64 {
    let (Some(spot), Some(line)) = (Spot::of(index), TIME_WAITS.get_ptr(index)) else { return 0 };
    // SAFETY: a byte of a map, and an aligned word of one.
    unsafe { if spot.tag().read_volatile() == tag { (&raw const (*line).tw).read_volatile() } else { 0 } }
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

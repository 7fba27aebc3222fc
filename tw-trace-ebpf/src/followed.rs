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

use tw_trace_common::followed::{Line, NEIGHBOURS, Neighbours, TimeWait};

use crate::{
    globals::{CONFIG, load},
    maps::{NAMES, NEIGHBOURHOODS, Scratch, TIME_WAITS, fetch_add},
    sockets, words,
};

/// Lines that a socket may have. With four lines in seven taken, all of them are taken for one socket in a million.
const CHOICES: u32 = 24;
/// A socket has 256 bytes or some more (`struct tcp_timewait_sock`, 5.10 – 7.3), so that no two begin in one such unit.
const UNIT_SHIFT: u32 = 8;
/// Sockets of a page stay together: units of a page.
const PAGE_UNITS: u32 = 16;
const NOWHERE: u32 = u32::MAX;

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
        (self.0 >> UNIT_SHIFT) as u32
    }

    /// The line that is its own.
    #[inline(always)]
    fn home(self) -> u32 {
        self.unit().checked_rem(lines()).unwrap_or(0)
    }

    /// One of the other lines: in any place of a page, lest those go to waste where no socket begins.
    #[inline(always)]
    fn choice(self, choice: u32) -> u32 {
        let hash = spread(self.unit() / PAGE_UNITS);
        let page = (hash as u32).wrapping_add(choice.wrapping_mul((hash >> 32) as u32 | 1));
        let pages = lines() / PAGE_UNITS;
        ((u64::from(page) * u64::from(pages)) >> 32) as u32 * PAGE_UNITS + (self.unit() + choice) % PAGE_UNITS
    }

    #[inline(always)]
    fn tag(self) -> u8 {
        (spread(self.unit()) >> 56) as u8 | 1
    }
}

#[inline(always)]
fn spread(number: u32) -> u64 {
    // 2^64 / φ
    u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15)
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
    /// What is known of it: to be changed by who holds the lock of its bucket or of its timer's base.
    #[inline(always)]
    pub(crate) fn socket(&self) -> &'static mut TimeWait {
        // SAFETY: a map value, which stays.
        unsafe { &mut (*self.line).socket }
    }

    /// The name of its owner, where owners are asked for.
    #[inline(always)]
    pub(crate) fn name(&self) -> Option<*mut [u64; 2]> {
        NAMES.get_ptr_mut(self.index)
    }

    /// Lets go of it: the line may be another socket's at once.
    #[inline(always)]
    pub(crate) fn remove(self, tw: Address) {
        if self.index != tw.home() {
            count_elsewhere(tw, -1);
        }
        if let Some(tag) = tag(self.index) {
            // SAFETY: a byte of a map, of a line that is this socket's.
            unsafe { tag.write_volatile(0) }
        }
        // SAFETY: a map value.
        fetch_add(unsafe { &raw mut (*self.line).tw }, -tw.0.cast_signed());
    }
}

/// The entry of a socket, if it is followed.
#[inline(always)]
pub(crate) fn find(tw: Address) -> Option<Followed> {
    at(time_wait_line(tw.0))
}

/// Makes an entry for a socket that has none; none if there is no room.
#[inline(always)]
pub(crate) fn insert(tw: Address, socket: &TimeWait) -> Option<Followed> {
    let followed = at(time_wait_claim(tw.0))?;
    words::copy(followed.socket(), socket);
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
    let Some(neighbours) = neighbours(home) else { return NOWHERE };
    // SAFETY: an aligned word of a map; a socket is looked for where it was counted before.
    if unsafe { (&raw const (*neighbours).elsewhere).read_volatile() } == 0 {
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
    if claim(home, tw) {
        return home;
    }
    let Some(index) = (1..CHOICES).map(|choice| tw.choice(choice)).find(|&index| claim(index, tw)) else {
        return NOWHERE;
    };
    count_elsewhere(tw, 1);
    index
}

#[inline(always)]
fn is_of(index: u32, tw: Address) -> bool {
    let (Some(tag), Some(line)) = (tag(index), TIME_WAITS.get_ptr(index)) else { return false };
    // SAFETY: a byte of a map, and an aligned word of one.
    unsafe { tag.read_volatile() == tw.tag() && (&raw const (*line).tw).read_volatile() == tw.0 }
}

#[inline(always)]
fn neighbours(index: u32) -> Option<*mut Neighbours> {
    NEIGHBOURHOODS.get_ptr_mut(index / NEIGHBOURS)
}

#[inline(always)]
fn tag(index: u32) -> Option<*mut u8> {
    // SAFETY: within the tags.
    neighbours(index)
        .map(|found| unsafe { (&raw mut (*found).tags).cast::<u8>().add((index % NEIGHBOURS) as usize) })
}

#[inline(always)]
fn count_elsewhere(tw: Address, by: i64) {
    if let Some(neighbours) = neighbours(tw.home()) {
        // SAFETY: a map value.
        fetch_add(unsafe { &raw mut (*neighbours).elsewhere }, by);
    }
}

/// Takes a line if it is free. Two CPUs that find it so at one moment both add their address, and it belongs to the
/// one that then reads its own, if any: there is no comparing and exchanging before 5.12.
#[inline(always)]
fn claim(index: u32, tw: Address) -> bool {
    let (Some(tag), Some(line)) = (tag(index), TIME_WAITS.get_ptr_mut(index)) else { return false };
    // SAFETY: a byte of a map. It is zeroed before the line becomes free, and only written by whose the line is.
    if unsafe { tag.read_volatile() } != 0 {
        return false;
    }
    // SAFETY: an aligned word of a map, which changes by atomic additions only.
    let word = unsafe { &raw mut (*line).tw };
    // SAFETY: as above.
    if unsafe { word.read_volatile() } != 0 {
        return false;
    }
    fetch_add(word, tw.0.cast_signed());
    // SAFETY: as above.
    if unsafe { word.read_volatile() } != tw.0 {
        fetch_add(word, -tw.0.cast_signed());
        return false;
    }
    // SAFETY: as above.
    unsafe { tag.write_volatile(tw.tag()) }
    true
}

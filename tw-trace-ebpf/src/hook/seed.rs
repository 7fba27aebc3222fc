//! Time-wait sockets on the kernel's own list: those that were there before us, and those that are there at the end.

use tw_trace_common::{
    config::{Cell, Phase},
    counter::Counter,
    event::{NOBODY, exit_flags},
    followed::{FOUND, TimeWait},
};

use crate::{
    count::{book, count},
    ends, filter,
    followed::{self, Address, Followed},
    maps::{Place, SEEDING, cell},
    memory::Probed,
    sock,
    sockets::NOBODY_KNOWN,
};

/// A time-wait socket on the kernel's list.
#[inline(always)]
pub(crate) fn listed(tw: u64) {
    if cell(Cell::Phase) == Phase::Checking as u64 {
        found(tw);
    } else {
        seeded(tw);
    }
}

/// One that is followed has not ended unseen.
#[inline(always)]
fn found(tw: u64) {
    let Some(scratch) = Place::Iterator.scratch() else { return };
    if let Some(followed) = followed::find(Address::of(tw, scratch)) {
        // Should the socket end and the entry be used again meanwhile, another one gets its flags: at the end of a run,
        // when only sockets that are overdue are asked for the mark.
        followed.socket().flags |= FOUND;
    }
}

/// One that was there before us.
#[inline(always)]
fn seeded(tw: u64) {
    let timer = sock::timer_of_tw(tw);
    let Some(scratch) = Place::Iterator.scratch() else { return };
    if !sock::read_conn::<Probed>(tw, scratch) {
        return;
    }
    if !filter::conn_matches(scratch) || !filter::owner_matches(&NOBODY) {
        return;
    }
    let ends = ends::key(scratch) as u16;
    scratch.time_wait = TimeWait {
        began_ns: 0,
        entered_ns: 0,
        armed_ns: 0,
        cgroup: 0,
        pid: 0,
        armed_expires: sock::expires::<Probed>(timer) as u32,
        timeout_jiffies: 0,
        net: scratch.net as u32,
        ends,
        cookie: scratch.conn.cookie as u16,
        rearms: 0,
        substate: sock::substate(tw),
        flags: exit_flags::SEEDED,
    };
    let address = Address::of(tw, scratch);
    match follow(address, timer, &scratch.time_wait) {
        Seeded::Yes(followed) => {
            if book(scratch.net, scratch.conn.netns, |ledger| ledger.seeded += 1) == 0 {
                // Its end is booked where its beginning is.
                followed.socket().net = 0;
            }
        }
        Seeded::Known => {}
        Seeded::Ended => count(Counter::EndedBeforeSeed),
        // What is looked for again later has been counted already.
        Seeded::NoRoom if cell(Cell::Phase) == Phase::SeedingAgain as u64 => {}
        Seeded::NoRoom => count(Counter::SeedMapFull),
    }
}

enum Seeded {
    Yes(Followed),
    /// Its arming was seen.
    Known,
    Ended,
    NoRoom,
}

/// The socket may end at any moment, on another CPU or in a softirq on this one, and then nobody will tell us again. Its
/// note says that it is being seeded: whoever takes it knows of the other. An end of before the note shows in the timer,
/// which is taken off first; but where timer events tell early ends, `timer_cancel` comes before that, and an entry
/// that is made while its program runs stays: such a socket, whose end may have been told, is counted as missed.
#[inline(always)]
fn follow(tw: Address, timer: u64, socket: &TimeWait) -> Seeded {
    if followed::find(tw).is_some() {
        return Seeded::Known;
    }
    if SEEDING.insert(tw.number(), 0, 0).is_err() {
        return Seeded::NoRoom;
    }
    if sock::pprev::<Probed>(timer) == 0 {
        let _ = SEEDING.remove(tw.number());
        return Seeded::Ended;
    }
    let Some(followed) = followed::insert(tw, socket, &NOBODY_KNOWN) else {
        let _ = SEEDING.remove(tw.number());
        return Seeded::NoRoom;
    };
    if SEEDING.remove(tw.number()).is_ok() {
        return Seeded::Yes(followed);
    }
    followed.remove(tw);
    Seeded::Ended
}

/// Whether a socket that ends is being seeded at this very moment. To be asked once: then its entry is not to be touched.
#[inline(always)]
pub(crate) fn is_being_seeded(tw: Address) -> bool {
    is_seeding() && SEEDING.remove(tw.number()).is_ok()
}

#[inline(always)]
pub(crate) fn is_seeding() -> bool {
    let phase = cell(Cell::Phase);
    phase == Phase::Seeding as u64 || phase == Phase::SeedingAgain as u64
}

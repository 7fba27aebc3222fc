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
    hook::owner,
    maps::{ENDED, Place, cell},
    sock::{self, Probed},
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
        // Should the socket end and the entry be used again meanwhile, another one gets a wrong bit: at the end of a run,
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
    if followed::find(address).is_some() {
        // Its arming was seen.
        return;
    }
    let Some(followed) = followed::insert(address, &scratch.time_wait) else {
        // What is looked for again later has been counted already.
        if cell(Cell::Phase) == Phase::Seeding as u64 {
            count(Counter::SeedMapFull);
        }
        return;
    };
    owner::keep_name(&followed, &NOBODY);
    if sock::pprev::<Probed>(timer) == 0 && ENDED.remove(address.number()).is_ok() {
        // It ended between the look at it and the insertion, and nobody will tell us again.
        followed.remove(address);
        count(Counter::EndedBeforeSeed);
        return;
    }
    book(scratch.net, scratch.conn.netns, |ledger| ledger.seeded += 1);
}

/// Looks once more for a socket that ends and is not followed: it may be the one that is being seeded right now. Then both
/// sides know of its end, and whoever takes the note of it lets go of the entry.
#[inline(always)]
pub(crate) fn followed_meanwhile(tw: Address) -> Option<Followed> {
    let phase = cell(Cell::Phase);
    if phase != Phase::Seeding as u64 && phase != Phase::SeedingAgain as u64 {
        return None;
    }
    let _ = ENDED.insert(tw.number(), 0, 0);
    let followed = followed::find(tw)?;
    ENDED.remove(tw.number()).is_ok().then_some(followed)
}

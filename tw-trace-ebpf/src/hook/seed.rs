//! Time-wait sockets on the kernel's own list: those that were there before us, and those that are there at the end.

use aya_ebpf::bindings::BPF_NOEXIST;
use tw_trace_common::{
    config::{Cell, Phase},
    counter::Counter,
    event::{NOBODY, exit_flags},
    followed::{FOUND, TimeWait},
};

use crate::{
    count::{book, count},
    ends, filter,
    maps::{EEXIST, Place, TIME_WAITS, cell},
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
    if let Some(known) = TIME_WAITS.get_ptr_mut(tw) {
        // SAFETY: a map value. Should the socket end and the entry be used again meanwhile, another one gets a wrong bit:
        // at the end of a run, when only sockets that are overdue are asked for the mark.
        unsafe { (*known).flags |= FOUND };
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
    let (conn, entry) = (&scratch.conn, &mut scratch.time_wait);
    *entry = TimeWait {
        began_ns: 0,
        entered_ns: 0,
        armed_ns: 0,
        cgroup: 0,
        comm: [0; 2],
        pid: 0,
        armed_expires: sock::expires::<Probed>(timer) as u32,
        timeout_jiffies: 0,
        net: scratch.net as u32,
        ends,
        cookie: conn.cookie as u16,
        rearms: 0,
        substate: sock::substate(tw),
        flags: exit_flags::SEEDED,
    };
    let entry: &TimeWait = entry;
    match TIME_WAITS.insert(tw, entry, u64::from(BPF_NOEXIST)) {
        Ok(()) => {}
        // Its arming was seen.
        Err(EEXIST) => return,
        Err(_) => {
            // What is looked for again later has been counted already.
            if cell(Cell::Phase) == Phase::Seeding as u64 {
                count(Counter::SeedMapFull);
            }
            return;
        }
    }
    if sock::pprev::<Probed>(timer) == 0 && TIME_WAITS.remove(tw).is_ok() {
        // It ended between the look at it and the insertion, and nobody will tell us again.
        count(Counter::EndedBeforeSeed);
        return;
    }
    book(scratch.net, conn.netns, |ledger| ledger.seeded += 1);
}

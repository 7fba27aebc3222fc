//! Restarts of a time-wait socket's clock that left no event.

use tw_trace_common::{counter::Counter, event::exit_flags, followed::TimeWait, state::Substate};

use crate::{
    count::{book, count},
    followed::{self, Address},
    globals,
    hook::length,
    maps::Place,
    memory::Memory,
    sock,
};

const FIN_WAIT2: u8 = Substate::FinWait2 as u8;
const TIME_WAIT: u8 = Substate::TimeWait as u8;

/// The timer is being taken off to be armed anew. `__mod_timer` moves `expires` of a timer that stays in its
/// slot without an event, so the old value may already differ from what was armed.
#[inline(always)]
pub(crate) fn restarting<M: Memory>(tw: u64, timer: u64) {
    let Some(scratch) = Place::Timer.scratch() else { return };
    if let Some(followed) = followed::find(Address::of(tw, scratch)) {
        let known = followed.socket();
        let expires = sock::expires::<M>(timer);
        // The substate alone says nothing: a FIN sets it before it restarts the timer.
        if expires as u32 != known.armed_expires {
            find(known, expires, sock::substate(tw));
        }
    }
}

/// Books a restart that left no event: `expires` moved within the slot. The last arming is then known to a
/// jiffy; a change to TIME_WAIT that hid in it is dated the same way, from the learned TIME_WAIT length.
#[inline(always)]
pub(crate) fn find(known: &mut TimeWait, expires: u64, substate: u8) {
    // A FIN within the jiffy of the arming changes the substate alone.
    if expires as u32 == known.armed_expires && substate == known.substate {
        return;
    }
    count(Counter::HiddenRearm);
    book(known.net.into(), 0, |ledger| ledger.rearms += 1);
    let flipped = known.substate == FIN_WAIT2 && substate == TIME_WAIT;
    known.flags |= exit_flags::HIDDEN_REARM | if flipped { exit_flags::HIDDEN_FLIP } else { 0 };
    known.rearms = known.rearms.saturating_add(1);
    let len = length::known() as u32;
    if known.entered_ns == 0 && known.substate == TIME_WAIT && len != 0 {
        // Seeded: what the timer says of its first arming is about to be forgotten.
        known.entered_ns = globals::jiffy_ns(known.full_expires(expires) - u64::from(len));
    }
    let timeout = if substate == TIME_WAIT { len } else { known.timeout_jiffies };
    // To a jiffy: not before what was seen of it.
    let armed_ns = globals::jiffy_ns(expires.saturating_sub(u64::from(timeout)));
    known.armed_ns = if timeout == 0 { 0 } else { armed_ns.max(known.armed_ns) };
    if flipped {
        known.entered_ns = known.armed_ns;
    }
    known.timeout_jiffies = timeout;
    known.armed_expires = expires as u32;
    known.substate = substate;
}

//! Re-arms and ends of time-wait sockets, from the functions that make them.
//!
//! All of them run in the timer's softirq or with softirqs off (net/ipv4/inet_timewait_sock.c, 5.10 – 7.3), so what
//! one leaves for the next in the CPU's memory is found there.

use core::ffi::c_void;

use tw_trace_common::{config::Caller, counter::Counter, state::ExitReason};

use crate::{
    count::count,
    followed::{self, Address},
    hook::{
        ended, seed,
        time_wait::{self, Start},
        timer,
    },
    maps::{CPU, Place},
    memory::{Memory, Probed},
    sock, stack,
};

/// `void __inet_twsk_schedule(struct inet_timewait_sock *tw, int timeo, bool rearm)` begins (5.10 – 7.3).
///
/// The first arming is left to the timer's own event: from 6.11 on `inet_twsk_hashdance_schedule` makes it without a
/// call. A restart is announced here to the event that may come (`mod_timer_pending`).
#[inline(always)]
pub(crate) fn schedule_begins(tw: u64, rearm: u8) {
    let Some(cpu) = CPU.get_ptr_mut(0) else { return };
    if rearm != 0 {
        // SAFETY: a map value of this CPU, see above.
        unsafe { (*cpu).rearming = sock::timer_of_tw(tw) };
    }
}

/// `__inet_twsk_schedule` ends. Where the announcement is still there, the restart went into the slot or even the
/// jiffy where the timer was, and there was no event to tell it; or the timer had just been taken off to end.
#[inline(always)]
pub(crate) fn schedule_ends() {
    let Some(cpu) = CPU.get_ptr_mut(0) else { return };
    // SAFETY: as above.
    let timer = unsafe { core::mem::replace(&mut (*cpu).rearming, 0) };
    if timer != 0 && sock::pprev::<Probed>(timer) != 0 {
        time_wait::armed::<Probed>(sock::tw_of_timer(timer), timer, Start::Again);
    }
}

/// `static void tw_timer_handler(struct timer_list *t)` (5.10 – 7.3): the timer fired. `calc_index` of the timer
/// wheel has left the due jiffy of its bucket in the timer's flags and `expires`.
#[inline(always)]
pub(crate) fn fires<M: Memory>(timer: u64) {
    let tw = sock::tw_of_timer(timer);
    if let Some(cpu) = CPU.get_ptr_mut(0) {
        // SAFETY: as above.
        unsafe { (*cpu).expired = tw };
    }
    let due = sock::wheel::<M>(timer).bucket;
    ended::ended::<M>(tw, timer, ExitReason::Expired, Some(due));
}

/// `static void inet_twsk_kill(struct inet_timewait_sock *tw)` (5.10 – 7.3): on every way out, once; after
/// `tw_timer_handler` too, which has told the end by then.
#[inline(always)]
pub(crate) fn killed(ctx: *mut c_void, tw: u64) {
    let Some(cpu) = CPU.get_ptr_mut(0) else { return };
    // SAFETY: as above.
    let expired = unsafe { core::mem::replace(&mut (*cpu).expired, 0) };
    let Some(scratch) = Place::Timer.scratch() else { return };
    // While sockets are being seeded, one that was just told as unknown may be there for a moment. The price is that the
    // end of another at this address is missed if the program of the one before was held up.
    if expired == tw && (seed::is_seeding() || followed::find(Address::of(tw, scratch)).is_none()) {
        return;
    }
    let timer = sock::timer_of_tw(tw);
    let Ok(caller) = stack::innermost_caller(ctx) else {
        count(Counter::StackMissing);
        ended::ended::<Probed>(tw, timer, ExitReason::Unknown, None);
        return;
    };
    if caller == Some(Caller::Firing as u64) {
        // The handler's own program was held up; the stack tells the same.
        let due = sock::wheel::<Probed>(timer).bucket;
        ended::ended::<Probed>(tw, timer, ExitReason::Expired, Some(due));
        return;
    }
    let reason = timer::reason(caller, sock::substate(tw));
    ended::ended::<Probed>(tw, timer, reason, None);
}

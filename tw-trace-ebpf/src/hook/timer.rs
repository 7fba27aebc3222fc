//! What a timer event of a time-wait socket means: begun, restarted, ended early, or expired.

use core::ffi::c_void;

use tw_trace_common::{
    config::Caller,
    counter::Counter,
    state::{ExitReason, Substate},
};

use crate::{
    count::count,
    hook::{
        ended, hidden,
        time_wait::{self, Start},
    },
    maps::CPU,
    memory::Memory,
    sock, stack,
};

/// The timer was put on the wheel: `enqueue_timer` (kernel/time/timer.c, 5.10 – 7.3), under the base's lock.
#[inline(always)]
pub(crate) fn started<M: Memory>(timer: u64) {
    if is_moved(timer) {
        return;
    }
    let start = if is_restart(timer) { Start::Again } else { Start::First };
    time_wait::armed::<M>(sock::tw_of_timer(timer), timer, start);
}

/// The timer is taken off the wheel (`detach_timer`): to be fired, to be restarted, or because its socket ends.
#[inline(always)]
pub(crate) fn cancelled<M: Memory>(ctx: *mut c_void, timer: u64) {
    let tw = sock::tw_of_timer(timer);
    match taken_off::<M>(ctx, timer) {
        TakenOff::ToFire | TakenOff::ToMove => {}
        TakenOff::ToRestart => hidden::restarting::<M>(tw, timer),
        TakenOff::Ended(reason) => ended::ended::<M>(tw, timer, reason, None),
        // If it is being fired or restarted, the next event says so; if it ends, its end is missed, and counted
        // when its memory is used again or the run ends.
        TakenOff::Untold => count(Counter::StackMissing),
    }
}

/// What a cancelled timer was taken off the wheel for.
pub(crate) enum TakenOff {
    ToFire,
    /// Its start event follows at once, under the same lock.
    ToRestart,
    /// Likewise, on another CPU's wheel: `migrate_timer_list` of `timers_dead_cpu` (kernel/time/timer.c, 5.10 – 7.3) takes
    /// each timer of a CPU that went offline off and starts it again, `expires` unchanged.
    ToMove,
    Ended(ExitReason),
    Untold,
}

/// A cancel says nothing by itself. When timers fire, `__run_timers` has moved their bucket onto a list with
/// its head on the stack, so the first timer's `entry.pprev` is the same for the whole burst: one look at the
/// kernel stack per burst tells it, and one comparison the rest.
#[inline(always)]
pub(crate) fn taken_off<M: Memory>(ctx: *mut c_void, timer: u64) -> TakenOff {
    let Some(cpu) = CPU.get_ptr_mut(0) else { return TakenOff::Untold };
    let pprev = sock::pprev::<M>(timer);
    // SAFETY: a map value of this CPU; timers of time-wait sockets are never touched in hard interrupts.
    if unsafe { (*cpu).firing_head } == pprev {
        return TakenOff::ToFire;
    }
    let Ok(caller) = stack::innermost_caller(ctx) else { return TakenOff::Untold };
    if caller == Some(Caller::Firing as u64) {
        // SAFETY: as above.
        unsafe { (*cpu).firing_head = pprev };
        TakenOff::ToFire
    } else if caller == Some(Caller::Rearming as u64) {
        // SAFETY: as above.
        unsafe { (*cpu).rearming = timer };
        TakenOff::ToRestart
    } else if caller == Some(Caller::Moving as u64) {
        // SAFETY: as above.
        unsafe { (*cpu).moving = timer };
        TakenOff::ToMove
    } else {
        TakenOff::Ended(reason(caller, sock::substate(sock::tw_of_timer(timer))))
    }
}

/// Whether the timer that was just put on the wheel is one that was taken off to be restarted. Asked once for each.
#[inline(always)]
pub(crate) fn is_restart(timer: u64) -> bool {
    let Some(cpu) = CPU.get_ptr_mut(0) else { return false };
    // SAFETY: a map value of this CPU; timers of time-wait sockets are never touched in hard interrupts.
    unsafe { core::mem::replace(&mut (*cpu).rearming, 0) == timer }
}

/// Whether the timer that was just put on the wheel is one that was moved: its life goes on. Asked once for each.
#[inline(always)]
pub(crate) fn is_moved(timer: u64) -> bool {
    let Some(cpu) = CPU.get_ptr_mut(0) else { return false };
    // SAFETY: as in `is_restart`.
    unsafe { core::mem::replace(&mut (*cpu).moving, 0) == timer }
}

/// The timer fires: `call_timer_fn` is about to run `tw_timer_handler`. `baseclk` is its bucket's due jiffy.
#[inline(always)]
pub(crate) fn fired<M: Memory>(timer: u64, baseclk: u64) {
    ended::ended::<M>(sock::tw_of_timer(timer), timer, ExitReason::Expired, Some(baseclk));
}

/// `inet_twsk_deschedule_put`'s callers (net/ipv4, 5.10 – 7.3).
#[inline(always)]
pub(crate) fn reason(caller: Option<u64>, substate: u8) -> ExitReason {
    const CONNECT: u64 = Caller::Connect as u64;
    const STATE_PROCESS: u64 = Caller::StateProcess as u64;
    const RECEIVE: u64 = Caller::Receive as u64;
    const ABORT: u64 = Caller::Abort as u64;
    const PURGE: u64 = Caller::Purge as u64;
    match caller {
        Some(CONNECT) => ExitReason::Reused,
        Some(STATE_PROCESS) => ExitReason::Rst,
        // TCP_TW_SYN is only answered in TIME_WAIT, TCP_TW_RST only in FIN_WAIT2.
        Some(RECEIVE) if substate == Substate::FinWait2 as u8 => ExitReason::ResetSent,
        Some(RECEIVE) => ExitReason::NewSyn,
        Some(ABORT) => ExitReason::Killed,
        Some(PURGE) => ExitReason::NetnsGone,
        _ => ExitReason::Unknown,
    }
}

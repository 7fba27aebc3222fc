//! The life of a time-wait socket, from the first arming of its timer to its end. Records are self-contained.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns},
};
use tw_trace_common::{
    config::Cell,
    counter::Counter,
    event::{Conn, Kind, NOBODY, NONE_NS, Owner, TwEnter, TwExit, TwRearm, Wheel, exit_flags},
    state::{Entered, ExitReason, RearmCause, Substate},
};

use crate::{
    count::{book, count},
    emit, filter, globals,
    maps::{Place, SOCKETS, Scratch, TIME_WAITS, TimeWait, cell, set_cell},
    sock::{self, Memory, Probed},
};

const FIN_WAIT2: u8 = Substate::FinWait2 as u8;
const TIME_WAIT: u8 = Substate::TimeWait as u8;

/// The timer of `tw` was armed: its first arming is the entry, a later one a restart.
#[inline(always)]
pub(crate) fn armed<M: Memory>(tw: u64, timer: u64) {
    let Some(scratch) = Place::Timer.scratch() else { return };
    if !sock::read_conn::<Probed>(tw, scratch) {
        return;
    }
    // SAFETY: both take no arguments.
    let (now, jiffies) = unsafe { (bpf_ktime_get_ns(), bpf_jiffies64()) };
    let wheel = sock::wheel::<M>(timer);
    let timeout = wheel.expires.saturating_sub(jiffies) as u32;
    let arming = Arming { wheel, timeout, substate: sock::substate(tw), now };
    if arming.substate == TIME_WAIT {
        set_cell(Cell::TimewaitLen, u64::from(timeout));
    }
    if let Some(known) = TIME_WAITS.get_ptr_mut(tw) {
        // SAFETY: one time-wait socket's timer is armed and ended under its bucket's or base's lock.
        let known = unsafe { &mut *known };
        if known.cookie == scratch.conn.cookie {
            restarted(known, &scratch.conn, &arming);
            return;
        }
        count(Counter::ExitMissed);
        book(known.netns, |ledger| ledger.missed += 1);
        let _ = TIME_WAITS.remove(tw);
    }
    entered(tw, scratch, &arming);
}

/// One arming of a time-wait timer.
struct Arming {
    wheel: Wheel,
    /// Jiffies from now to `wheel.expires`.
    timeout: u32,
    substate: u8,
    now: u64,
}

#[inline(always)]
fn entered(tw: u64, scratch: &mut Scratch, arming: &Arming) {
    let cookie = scratch.conn.cookie;
    let entry = &mut scratch.time_wait;
    entry.owner = match SOCKETS.get_ptr_mut(cookie) {
        // SAFETY: the full socket is locked by who turns it into a time-wait socket.
        Some(socket) if cookie != 0 => unsafe { (*socket).owner },
        _ => NOBODY,
    };
    if !filter::conn_matches(&scratch.conn) || !filter::owner_matches(&entry.owner) {
        return;
    }
    entry.cookie = cookie;
    entry.began_ns = arming.now;
    entry.entered_ns = if arming.substate == TIME_WAIT { arming.now } else { 0 };
    entry.armed_ns = arming.now;
    entry.armed_expires = arming.wheel.expires;
    entry.timeout_jiffies = arming.timeout;
    entry.rearms = 0;
    entry.netns = scratch.conn.netns;
    entry.substate = arming.substate;
    entry.flags = 0;
    // By reference: a copy would not fit on the stack.
    let entry: &TimeWait = entry;
    let tracked = TIME_WAITS.insert(tw, entry, 0).is_ok();
    book(entry.netns, |ledger| {
        ledger.entered += 1;
        ledger.untracked += u64::from(!tracked);
    });
    if !tracked {
        count(Counter::TwMapFull);
    }
    report_enter(&scratch.conn, &scratch.time_wait.owner, arming);
}

#[inline(always)]
fn restarted(known: &mut TimeWait, conn: &Conn, arming: &Arming) {
    let elapsed_ns = if known.armed_ns == 0 { NONE_NS } else { arming.now - known.armed_ns };
    let flipped = known.substate == FIN_WAIT2 && arming.substate == TIME_WAIT;
    if flipped {
        known.entered_ns = arming.now;
        known.substate = TIME_WAIT;
    }
    known.armed_ns = arming.now;
    known.armed_expires = arming.wheel.expires;
    known.timeout_jiffies = arming.timeout;
    known.rearms += 1;
    book(conn.netns, |ledger| ledger.rearms += 1);
    if globals::streams(Kind::TwRearm) {
        // Trace events do not carry the segment; only the FIN shows, by the change of the substate.
        let cause = if flipped { RearmCause::Fin } else { RearmCause::Unknown };
        emit::emit(Kind::TwRearm, arming.now, conn, &known.owner, |record: &mut TwRearm| {
            record.wheel = arming.wheel;
            record.elapsed_ns = elapsed_ns;
            record.timeout_jiffies = u64::from(arming.timeout);
            record.substate = arming.substate;
            record.cause = cause as u8;
            record.spare = [0; 6];
        });
    }
    if flipped {
        report_enter(conn, &known.owner, arming);
    }
}

#[inline(always)]
fn report_enter(conn: &Conn, owner: &Owner, arming: &Arming) {
    if !globals::streams(Kind::TwEnter) {
        return;
    }
    emit::emit(Kind::TwEnter, arming.now, conn, owner, |record: &mut TwEnter| {
        record.wheel = arming.wheel;
        record.timeout_jiffies = u64::from(arming.timeout);
        record.substate = arming.substate;
        record.entered = Entered::Exact as u8;
        record.spare = [0; 6];
    });
}

/// The timer is being taken off to be armed anew. `__mod_timer` moves `expires` of a timer that stays in its
/// slot without an event, so the old value may already differ from what was armed.
#[inline(always)]
pub(crate) fn restarting<M: Memory>(tw: u64, timer: u64) {
    if let Some(known) = TIME_WAITS.get_ptr_mut(tw) {
        // SAFETY: as in `armed`.
        find_hidden_rearm(unsafe { &mut *known }, sock::expires::<M>(timer), sock::substate(tw));
    }
}

/// Books a restart that left no event: `expires` moved within the slot. The last arming is then known to a
/// jiffy; a change to TIME_WAIT that hid in it is dated the same way, from the learned TIME_WAIT length.
#[inline(always)]
fn find_hidden_rearm(known: &mut TimeWait, expires: u64, substate: u8) {
    // A FIN within the jiffy of the arming changes the substate alone.
    if expires == known.armed_expires && substate == known.substate {
        return;
    }
    count(Counter::HiddenRearm);
    known.flags |= exit_flags::HIDDEN_REARM;
    known.rearms += 1;
    let timeout = if substate == TIME_WAIT { cell(Cell::TimewaitLen) as u32 } else { known.timeout_jiffies };
    if known.armed_ns != 0 && timeout != 0 {
        let armed_at = known.armed_expires - u64::from(known.timeout_jiffies);
        let rearmed_at = expires.saturating_sub(u64::from(timeout));
        known.armed_ns += rearmed_at.saturating_sub(armed_at) * globals::load(&globals::CONFIG.tick_ns);
        if known.substate == FIN_WAIT2 && substate == TIME_WAIT {
            known.entered_ns = known.armed_ns;
        }
    } else {
        known.armed_ns = 0;
    }
    known.timeout_jiffies = timeout;
    known.armed_expires = expires;
    known.substate = substate;
}

/// The time-wait socket ended. `baseclk` is the due jiffy of the bucket that fired it, for an expiry.
#[inline(always)]
pub(crate) fn ended<M: Memory>(tw: u64, timer: u64, reason: ExitReason, baseclk: Option<u64>) {
    let Some(found) = TIME_WAITS.get_ptr_mut(tw) else {
        count(Counter::UnknownSocket);
        return;
    };
    let Some(scratch) = Place::Timer.scratch() else { return };
    // SAFETY: as in `armed`; copied, because the entry is removed below.
    scratch.time_wait = unsafe { *found };
    let _ = TIME_WAITS.remove(tw);
    let known = &mut scratch.time_wait;
    find_hidden_rearm(known, sock::expires::<M>(timer), sock::substate(tw));
    book(known.netns, |ledger| {
        if let Some(exited) = ledger.exited.get_mut(reason as usize) {
            *exited += 1;
        }
    });
    if globals::streams(Kind::TwExit)
        && filter::reason_matches(reason as u8)
        && sock::read_conn::<Probed>(tw, scratch)
    {
        report_exit::<M>(scratch, timer, reason, baseclk);
    }
}

#[inline(always)]
fn report_exit<M: Memory>(scratch: &Scratch, timer: u64, reason: ExitReason, baseclk: Option<u64>) {
    let known = &scratch.time_wait;
    // SAFETY: takes no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let mut wheel = sock::wheel::<M>(timer);
    if let Some(due) = baseclk {
        wheel.bucket = due;
    }
    let seeded = known.flags & exit_flags::SEEDED != 0;
    let hidden = known.flags & exit_flags::HIDDEN_REARM != 0;
    let dated = Dated::of(known, seeded, now);
    let lateness_ns = match baseclk {
        Some(due) => now.saturating_sub(globals::jiffy_ns(due)),
        None => NONE_NS,
    };
    let estimated = seeded || (hidden && known.began_ns != known.entered_ns);
    emit::emit(Kind::TwExit, now, &scratch.conn, &known.owner, |record: &mut TwExit| {
        record.wheel = wheel;
        record.duration_ns = dated.duration_ns;
        record.fin_wait2_ns = dated.fin_wait2_ns;
        record.since_arming_ns = dated.since_arming_ns;
        record.lateness_ns = lateness_ns;
        record.timeout_jiffies = dated.timeout_jiffies;
        record.rearms = known.rearms;
        record.reason = reason as u8;
        record.substate = known.substate;
        record.entered = if estimated { Entered::Estimated } else { Entered::Exact } as u8;
        record.flags = known.flags;
    });
}

/// What is known of the times of a socket that ends.
struct Dated {
    duration_ns: u64,
    fin_wait2_ns: u64,
    since_arming_ns: u64,
    timeout_jiffies: u64,
}

impl Dated {
    #[inline(always)]
    fn of(known: &TimeWait, seeded: bool, now: u64) -> Self {
        if seeded {
            return Self::of_seeded(known, now);
        }
        let in_fin_wait2 = known.substate == FIN_WAIT2;
        let (duration_ns, fin_wait2_ns) = if in_fin_wait2 {
            (0, now - known.began_ns)
        } else if known.entered_ns == 0 {
            (NONE_NS, NONE_NS)
        } else {
            (now.saturating_sub(known.entered_ns), known.entered_ns.saturating_sub(known.began_ns))
        };
        let since_arming_ns = if known.armed_ns == 0 { NONE_NS } else { now.saturating_sub(known.armed_ns) };
        Self { duration_ns, fin_wait2_ns, since_arming_ns, timeout_jiffies: u64::from(known.timeout_jiffies) }
    }

    /// The start of a seeded socket is worked out from `expires` and the TIME_WAIT length learned since.
    #[inline(always)]
    fn of_seeded(known: &TimeWait, now: u64) -> Self {
        if known.armed_ns != 0 {
            // Restarted since: the last arming was seen, the first was not.
            let since_arming_ns = now.saturating_sub(known.armed_ns);
            let duration_ns = if known.substate == FIN_WAIT2 {
                0
            } else if known.entered_ns != 0 {
                now.saturating_sub(known.entered_ns)
            } else {
                NONE_NS
            };
            let timeout_jiffies = u64::from(known.timeout_jiffies);
            return Self { duration_ns, fin_wait2_ns: NONE_NS, since_arming_ns, timeout_jiffies };
        }
        let timeout = cell(Cell::TimewaitLen);
        if known.substate == FIN_WAIT2 || timeout == 0 {
            let duration_ns = if known.substate == FIN_WAIT2 { 0 } else { NONE_NS };
            return Self { duration_ns, fin_wait2_ns: NONE_NS, since_arming_ns: NONE_NS, timeout_jiffies: 0 };
        }
        let since = now.saturating_sub(globals::jiffy_ns(known.armed_expires - timeout));
        Self { duration_ns: since, fin_wait2_ns: NONE_NS, since_arming_ns: since, timeout_jiffies: timeout }
    }
}

/// A time-wait socket that was there before us, found by the iterator.
#[inline(always)]
pub(crate) fn seeded(tw: u64) {
    let timer = sock::timer_of_tw(tw);
    let Some(scratch) = Place::Iterator.scratch() else { return };
    if !sock::read_conn::<Probed>(tw, scratch) {
        return;
    }
    let (conn, entry) = (&scratch.conn, &mut scratch.time_wait);
    if !filter::conn_matches(conn) || !filter::owner_matches(&NOBODY) {
        return;
    }
    *entry = TimeWait {
        cookie: conn.cookie,
        began_ns: 0,
        entered_ns: 0,
        armed_ns: 0,
        armed_expires: sock::expires::<Probed>(timer),
        owner: NOBODY,
        timeout_jiffies: 0,
        rearms: 0,
        netns: conn.netns,
        substate: sock::substate(tw),
        flags: exit_flags::SEEDED,
        spare: 0,
    };
    let entry: &TimeWait = entry;
    match TIME_WAITS.insert(tw, entry, u64::from(BPF_NOEXIST)) {
        Ok(()) => {}
        // -EEXIST: its arming was seen.
        Err(-17) => return,
        Err(_) => {
            count(Counter::SeedMapFull);
            return;
        }
    }
    if sock::pprev::<Probed>(timer) == 0 && TIME_WAITS.remove(tw).is_ok() {
        // It ended between the look at it and the insertion, and nobody will tell us again.
        count(Counter::EndedBeforeSeed);
        return;
    }
    book(conn.netns, |ledger| ledger.seeded += 1);
}

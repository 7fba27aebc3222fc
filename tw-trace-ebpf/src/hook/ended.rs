//! The end of a time-wait socket: booked, counted in distributions, told. Records are self-contained.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use tw_trace_common::{
    event::{Kind, NONE_NS, TwExit},
    followed::FOUND,
    state::{Entered, ExitReason},
};

use crate::{
    count::book,
    emit, filter,
    followed::{self, Address},
    globals,
    hook::{
        dated::{self, Dated},
        dccp, distributions, hidden, owner, seed, time_wait,
    },
    keys,
    maps::{Place, Scratch},
    memory::{Memory, Probed},
    sock, words,
};

/// The time-wait socket ended. `baseclk` is the due jiffy of the bucket that fired it, for an expiry.
#[inline(always)]
pub(crate) fn ended<M: Memory>(tw: u64, timer: u64, reason: ExitReason, baseclk: Option<u64>) {
    let Some(scratch) = Place::Timer.scratch() else { return };
    let address = Address::of(tw, scratch);
    let found = if seed::is_being_seeded(address) { None } else { followed::find(address) };
    let Some(followed) = found else {
        if !dccp::passes(tw) && sock::read_conn::<Probed>(tw, scratch) {
            time_wait::unknown(scratch);
        }
        return;
    };
    words::copy(&mut scratch.time_wait, followed.socket());
    owner::give(&followed, &mut scratch.owner);
    followed.remove(address);
    let known = &mut scratch.time_wait;
    let expires = sock::expires::<M>(timer);
    hidden::find(known, expires, sock::substate(tw));
    book(known.net.into(), 0, |ledger| {
        if let Some(exited) = ledger.exited.get_mut(reason as usize) {
            *exited += 1;
        }
    });
    let is_told = globals::streams(Kind::TwExit) || globals::counts_time_waits();
    if is_told
        && filter::reason_matches(reason as u8)
        && (!needs_conn() || sock::read_conn::<Probed>(tw, scratch))
    {
        told::<M>(scratch, timer, expires, reason, baseclk);
    }
}

/// Whether anything is asked for that only the connection tells.
#[inline(always)]
fn needs_conn() -> bool {
    globals::streams(Kind::TwExit) || keys::are_ends()
}

/// The end is one of those asked for.
#[inline(always)]
fn told<M: Memory>(
    scratch: &mut Scratch,
    timer: u64,
    expires: u64,
    reason: ExitReason,
    baseclk: Option<u64>,
) {
    // SAFETY: takes no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let dated = Dated::of(&scratch.time_wait, expires, now);
    let lateness_ns = match baseclk {
        Some(due) => now.saturating_sub(globals::jiffy_ns(due)),
        None => NONE_NS,
    };
    if globals::counts_time_waits() {
        distributions::count_end(scratch, &dated, lateness_ns, reason);
    }
    if globals::streams(Kind::TwExit) {
        report_exit::<M>(scratch, &dated, timer, [now, lateness_ns], (reason, baseclk));
    }
}

#[inline(always)]
fn report_exit<M: Memory>(
    scratch: &Scratch,
    dated: &Dated,
    timer: u64,
    [now, lateness_ns]: [u64; 2],
    (reason, baseclk): (ExitReason, Option<u64>),
) {
    let known = &scratch.time_wait;
    let mut wheel = sock::wheel::<M>(timer);
    if let Some(due) = baseclk {
        wheel.bucket = due;
    }
    let estimated = dated::is_estimated(known);
    emit::emit(Kind::TwExit, now, &scratch.conn, &scratch.owner, |record: &mut TwExit| {
        record.wheel = wheel;
        record.duration_ns = dated.duration_ns;
        record.fin_wait2_ns = dated.fin_wait2_ns;
        record.since_arming_ns = dated.since_arming_ns;
        record.lateness_ns = lateness_ns;
        record.timeout_jiffies = dated.timeout_jiffies;
        record.rearms = known.rearms.into();
        record.reason = reason as u8;
        record.substate = known.substate;
        record.entered = if estimated { Entered::Estimated } else { Entered::Exact } as u8;
        record.flags = known.flags & !FOUND;
    });
}

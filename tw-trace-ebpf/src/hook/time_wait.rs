//! The life of a time-wait socket, from the first arming of its timer to its end. Records are self-contained.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};
use tw_trace_common::{
    config::{Cell, Phase},
    counter::Counter,
    event::{Conn, Kind, NOBODY, NONE_NS, Owner, TwEnter, TwRearm, Wheel},
    followed::TimeWait,
    state::{Entered, RearmCause, Substate},
};

use crate::{
    count::{book, count},
    emit, ends, filter,
    followed::{self, Address},
    globals,
    hook::{dccp, length, owner, segment},
    maps::{Place, Scratch, cell},
    memory::{Memory, Probed},
    sock,
};

const FIN_WAIT2: u8 = Substate::FinWait2 as u8;
const TIME_WAIT: u8 = Substate::TimeWait as u8;

/// The timer of `tw` was armed: its first arming is the entry, a later one a restart.
#[inline(always)]
pub(crate) fn armed<M: Memory>(tw: u64, timer: u64, start: Start) {
    let Some(scratch) = Place::Timer.scratch() else { return };
    if dccp::passes(tw) || !sock::read_conn::<Probed>(tw, scratch) {
        return;
    }
    // SAFETY: both take no arguments.
    let (now, jiffies) = unsafe { (bpf_ktime_get_ns(), bpf_jiffies64()) };
    let wheel = sock::wheel::<M>(timer);
    if globals::functions() && start == Start::First && is_moved(tw, scratch, wheel.expires) {
        return;
    }
    let substate = sock::substate(tw);
    let timeout = length::asked(wheel.expires.saturating_sub(jiffies), substate) as u32;
    let arming = Arming { wheel, timeout, substate, now };
    if scratch.net == cell(Cell::OwnNet) || cell(Cell::Phase) == Phase::Learning as u64 {
        arming.teach();
        return;
    }
    match start {
        Start::First => entered(tw, scratch, &arming),
        Start::Again if restarted(tw, scratch, &arming, start) => {}
        // There before us and not seeded yet, or there was no room for it.
        Start::Again => unknown(scratch),
    }
}

/// Whether an entry is that of the socket in the scratch, and not of one whose end was missed. A cookie may have
/// been given to a socket in between (ss asks for it), so only two of them tell sockets apart.
#[inline(always)]
fn is_same(known: &TimeWait, scratch: &Scratch, start: Start) -> bool {
    if globals::functions() && start == Start::First {
        return false;
    }
    let cookie = scratch.conn.cookie as u16;
    let is_other = known.cookie != 0 && cookie != 0 && known.cookie != cookie;
    !is_other && known.ends == ends::key(scratch) as u16
}

/// Whether a timer is armed for the first time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    First,
    Again,
}

/// An event of a socket that is not being followed, though the filters select it.
#[inline(always)]
pub(crate) fn unknown(scratch: &Scratch) {
    if scratch.net != cell(Cell::OwnNet) && filter::conn_matches(scratch) && filter::owner_matches(&NOBODY) {
        count(Counter::UnknownSocket);
        book(scratch.net, scratch.conn.netns, |ledger| ledger.unknown += 1);
    }
}

/// One arming of a time-wait timer.
struct Arming {
    wheel: Wheel,
    /// Jiffies from now to `wheel.expires`.
    timeout: u32,
    substate: u8,
    now: u64,
}

impl Arming {
    #[inline(always)]
    fn teach(&self) {
        length::learn(self.timeout.into(), self.substate);
    }
}

#[inline(always)]
fn entered(tw: u64, scratch: &mut Scratch, arming: &Arming) {
    let address = Address::of(tw, scratch);
    owner::find(scratch);
    if !filter::conn_matches(scratch) || !filter::owner_matches(&scratch.owner) {
        forget(address);
        return;
    }
    let ends = ends::key(scratch) as u16;
    owner::keep(&mut scratch.time_wait, &scratch.owner);
    let entry = &mut scratch.time_wait;
    entry.net = scratch.net as u32;
    entry.began_ns = arming.now;
    entry.entered_ns = if arming.substate == TIME_WAIT { arming.now } else { 0 };
    entry.armed_ns = arming.now;
    entry.armed_expires = arming.wheel.expires as u32;
    entry.timeout_jiffies = arming.timeout;
    entry.rearms = 0;
    entry.substate = arming.substate;
    entry.flags = 0;
    entry.ends = ends;
    entry.cookie = scratch.conn.cookie as u16;
    if followed::find(address).is_some() {
        if restarted(tw, scratch, arming, Start::First) {
            // Not the first arming, but no stack told so.
            return;
        }
        // Of a socket before it at this address.
        forget(address);
    }
    arming.teach();
    let followed = followed::insert(address, &scratch.time_wait, &scratch.owner);
    let is_tracked = followed.is_some();
    let net = book(scratch.net, scratch.conn.netns, |ledger| {
        ledger.entered += 1;
        ledger.untracked += u64::from(!is_tracked);
    });
    match followed {
        // Its end is booked where its beginning is.
        Some(followed) if net == 0 => followed.socket().net = 0,
        Some(_) => {}
        None => count(Counter::TwMapFull),
    }
    report_enter(&scratch.conn, &scratch.owner, arming);
}

/// Whether the timer of a followed socket was only put on another CPU's wheel (`timers_dead_cpu`): where functions report
/// ends, the start of a timer is all that is seen of that. No other socket is due at the very jiffy of the one before it.
#[inline(always)]
fn is_moved(tw: u64, scratch: &mut Scratch, expires: u64) -> bool {
    let Some(followed) = followed::find(Address::of(tw, scratch)) else { return false };
    let known = followed.socket();
    let cookie = scratch.conn.cookie as u16;
    // A socket may get its cookie while it is followed.
    let is_other = known.cookie != 0 && cookie != 0 && known.cookie != cookie;
    known.armed_expires == expires as u32 && known.ends == ends::key(scratch) as u16 && !is_other
}

/// Lets go of a socket that was at this address and whose end was not seen.
#[inline(always)]
fn forget(tw: Address) {
    if let Some(followed) = followed::find(tw) {
        count(Counter::ExitMissed);
        book(followed.socket().net.into(), 0, |ledger| ledger.missed += 1);
        followed.remove(tw);
    }
}

/// False if the socket is not being followed.
#[inline(always)]
fn restarted(tw: u64, scratch: &mut Scratch, arming: &Arming, start: Start) -> bool {
    let Some(followed) = followed::find(Address::of(tw, scratch)) else { return false };
    let known = followed.socket();
    if !is_same(known, scratch, start) {
        return false;
    }
    arming.teach();
    let elapsed_ns = if known.armed_ns == 0 { NONE_NS } else { arming.now - known.armed_ns };
    let flipped = known.substate == FIN_WAIT2 && arming.substate == TIME_WAIT;
    if flipped {
        known.entered_ns = arming.now;
        known.substate = TIME_WAIT;
    }
    known.armed_ns = arming.now;
    known.armed_expires = arming.wheel.expires as u32;
    known.timeout_jiffies = arming.timeout;
    known.rearms = known.rearms.saturating_add(1);
    book(known.net.into(), 0, |ledger| ledger.rearms += 1);
    owner::give(&followed, &mut scratch.owner);
    if globals::streams(Kind::TwRearm) {
        let cause = if flipped { RearmCause::Fin as u8 } else { segment::cause(tw) };
        emit::emit(Kind::TwRearm, arming.now, &scratch.conn, &scratch.owner, |record: &mut TwRearm| {
            record.wheel = arming.wheel;
            record.elapsed_ns = elapsed_ns;
            record.timeout_jiffies = u64::from(arming.timeout);
            record.substate = arming.substate;
            record.cause = cause;
            (record.spare, record.spare2) = (0, 0);
        });
    }
    if flipped {
        report_enter(&scratch.conn, &scratch.owner, arming);
    }
    true
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
        (record.spare, record.spare2) = (0, 0);
    });
}

//! The wheel view: time-wait timers counted by bucket, and the bursts in which they fire. Nothing is kept per
//! socket; only while the sockets of before the start are being counted, who was counted is remembered.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_smp_processor_id, generated::bpf_ktime_get_ns},
};
use tw_trace_common::{
    config::{Cell, Phase, filter_bits},
    counter::Counter,
    event::Wheel,
    histogram::Series,
    state::ExitReason,
    wheel::{Burst, LEVEL_SLOTS, SLOTS, Slot, WheelCpu},
};

use crate::{
    count::count,
    filter, globals, histogram,
    hook::{
        dccp,
        timer::{self, TakenOff},
    },
    maps::{Place, WHEEL_CPU, WHEEL_SEEDS, WHEEL_SLOTS, add_to_cell, cell, fetch_add},
    memory::{Memory, Probed},
    sock,
};

/// The timer was put on the wheel.
#[inline(always)]
pub(crate) fn started<M: Memory>(timer: u64) {
    let is_moved = timer::is_moved(timer);
    let is_restart = timer::is_restart(timer);
    if !is_asked_for(timer) {
        return;
    }
    let wheel = sock::wheel::<M>(timer);
    let key = key(&wheel);
    if is_seeding() {
        remember(timer, key);
    }
    add(key, wheel.bucket);
    let Some(cpu) = this_cpu() else { return };
    if core::mem::replace(&mut cpu.adopting, 0) == timer {
        // Of a socket that was there before us: seeded this way.
        add_to_cell(Cell::WheelSeeded, 1);
    } else if is_moved {
        return;
    } else if is_restart {
        cpu.restarted += 1;
    } else {
        cpu.entered += 1;
    }
    cpu.armed_away += u64::from(is_another(wheel.cpu));
}

/// The timer is taken off the wheel: to be fired, to be restarted, or because its socket ends.
#[inline(always)]
pub(crate) fn cancelled<M: Memory>(ctx: *mut c_void, timer: u64) {
    if !is_asked_for(timer) {
        return;
    }
    let taken_off = timer::taken_off::<M>(ctx, timer);
    let is_known = take::<M>(timer);
    let Some(cpu) = this_cpu() else { return };
    if !is_known {
        // There before us, and never counted.
        if matches!(taken_off, TakenOff::ToRestart | TakenOff::ToMove) {
            cpu.adopting = timer;
        } else {
            cpu.unknown += 1;
        }
        return;
    }
    match taken_off {
        TakenOff::ToFire => cpu.firing = timer,
        TakenOff::ToMove => {}
        TakenOff::ToRestart => cpu.rearms += 1,
        TakenOff::Ended(reason) => ended(cpu, reason),
        TakenOff::Untold => {
            count(Counter::StackMissing);
            ended(cpu, ExitReason::Unknown);
        }
    }
}

/// The timer fires, right after it was taken off; `baseclk` is the jiffy at which its bucket was due.
#[inline(always)]
pub(crate) fn fired<M: Memory>(timer: u64, baseclk: u64) {
    let Some(cpu) = this_cpu() else { return };
    if cpu.firing != timer {
        return;
    }
    cpu.firing = 0;
    ended(cpu, ExitReason::Expired);
    // SAFETY: takes no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let base = sock::base::<M>(timer);
    cpu.fired_away += u64::from(is_another(base));
    let rounding = baseclk.saturating_sub(sock::expires::<M>(timer)) * globals::tick_ns();
    let lateness = now.saturating_sub(globals::jiffy_ns(baseclk));
    histogram::record(Series::Rounding.key(), rounding);
    histogram::record(Series::Lateness.key(), lateness);
    histogram::record(Series::Overshoot.key(), rounding + lateness);
    let burst = &mut cpu.burst;
    if burst.due == baseclk && burst.base == u64::from(base) {
        burst.timers += 1;
        burst.last_ns = now;
        return;
    }
    close(cpu);
    cpu.burst = Burst { due: baseclk, timers: 1, first_ns: now, last_ns: now, base: base.into() };
}

/// A time-wait socket that was there before us, found by the iterator.
#[inline(always)]
pub(crate) fn seeded(tw: u64) {
    let timer = sock::timer_of_tw(tw);
    if !is_asked_for(timer) {
        return;
    }
    let wheel = sock::wheel::<Probed>(timer);
    let key = key(&wheel);
    // Counted first: whoever finds it remembered may take it out of its bucket.
    add(key, wheel.bucket);
    match WHEEL_SEEDS.insert(timer, key, u64::from(BPF_NOEXIST)) {
        Ok(()) => add_to_cell(Cell::WheelSeeds, 1),
        Err(error) => {
            take_from(key);
            // Its arming was seen, if it is there.
            if error != EEXIST {
                count(Counter::SeedMapFull);
            }
            return;
        }
    }
    if sock::pprev::<Probed>(timer) == 0 && WHEEL_SEEDS.remove(timer).is_ok() {
        // It ended between the look at it and the insertion, and nobody will tell us again.
        add_to_cell(Cell::WheelSeeds, -1);
        take_from(key);
        count(Counter::EndedBeforeSeed);
        return;
    }
    add_to_cell(Cell::WheelSeeded, 1);
}

/// Whether the filters select the timer's socket.
#[inline(always)]
fn is_asked_for(timer: u64) -> bool {
    let tw = sock::tw_of_timer(timer);
    if dccp::passes(tw) {
        return false;
    }
    if !filter::is_active(filter_bits::CONN) {
        return true;
    }
    let Some(scratch) = Place::Timer.scratch() else { return false };
    sock::read_conn::<Probed>(tw, scratch) && filter::conn_matches(scratch)
}

#[inline(always)]
fn is_seeding() -> bool {
    cell(Cell::Phase) == Phase::Seeding as u64
}

#[inline(always)]
fn this_cpu() -> Option<&'static mut WheelCpu> {
    // SAFETY: a map value of this CPU. Timers of time-wait sockets are armed, fired and ended with softirqs off; the
    // iterator counts what nothing else does.
    WHEEL_CPU.get_ptr_mut(0).map(|cpu| unsafe { &mut *cpu })
}

#[inline(always)]
fn is_another(cpu: u32) -> bool {
    // SAFETY: takes no arguments.
    cpu != unsafe { bpf_get_smp_processor_id() }
}

#[inline(always)]
fn key(wheel: &Wheel) -> u32 {
    wheel.cpu * SLOTS + u32::from(wheel.level) * LEVEL_SLOTS + u32::from(wheel.slot)
}

/// What an insertion with BPF_NOEXIST says of a key that is there.
const EEXIST: i32 = -17;

/// Who was counted is remembered while the iterator counts too.
#[inline(always)]
fn remember(timer: u64, key: u32) {
    match WHEEL_SEEDS.insert(timer, key, u64::from(BPF_NOEXIST)) {
        Ok(()) => add_to_cell(Cell::WheelSeeds, 1),
        // The iterator was first.
        Err(EEXIST) => {}
        Err(_) => count(Counter::SeedMapFull),
    }
}

#[inline(always)]
fn slot(key: u32) -> Option<&'static mut Slot> {
    // SAFETY: a map value. All fields are changed by atomic additions, or under the wheel's lock.
    WHEEL_SLOTS.get_ptr_mut(key).map(|slot| unsafe { &mut *slot })
}

#[inline(always)]
fn add(key: u32, due: u64) {
    let Some(slot) = slot(key) else {
        count(Counter::WheelSlotMissing);
        return;
    };
    slot.due = due;
    fetch_add(&raw mut slot.timers, 1);
}

/// Takes a timer out of the bucket in which it was counted; false if it never was.
#[inline(always)]
fn take<M: Memory>(timer: u64) -> bool {
    if cell(Cell::WheelSeeds) != 0
        && let Some(remembered) = WHEEL_SEEDS.get_ptr(timer)
    {
        // SAFETY: a map value that nobody changes.
        let key = unsafe { *remembered };
        if WHEEL_SEEDS.remove(timer).is_ok() {
            add_to_cell(Cell::WheelSeeds, -1);
            return take_from(key);
        }
    }
    // While sockets of before the start are being counted, all that were counted are remembered.
    !is_seeding() && take_from(key(&sock::wheel::<M>(timer)))
}

#[inline(always)]
fn take_from(key: u32) -> bool {
    let Some(slot) = slot(key) else { return false };
    let is_counted = slot.timers != 0;
    if is_counted {
        fetch_add(&raw mut slot.timers, -1);
    }
    is_counted
}

#[inline(always)]
fn ended(cpu: &mut WheelCpu, reason: ExitReason) {
    if let Some(exited) = cpu.exited.get_mut(reason as usize) {
        *exited += 1;
    }
}

/// The burst under way is over: another one begins.
#[inline(always)]
fn close(cpu: &mut WheelCpu) {
    let burst = &cpu.burst;
    if burst.timers == 0 {
        return;
    }
    cpu.bursts += 1;
    cpu.burst_timers += burst.timers;
    histogram::record(Series::BurstTimers.key(), burst.timers);
    histogram::record(Series::BurstTime.key(), burst.lasted());
    if burst.timers > cpu.largest.timers {
        cpu.largest = *burst;
    }
    if burst.lasted() >= cpu.longest.lasted() {
        cpu.longest = *burst;
    }
}

//! The learned length of TIME_WAIT dates timers whose arming was not seen.

use tw_trace_common::{
    config::Cell,
    counter::Counter,
    length::{self, VARIES},
    state::Substate,
};

use crate::{
    count::count,
    globals,
    maps::{cell, set_cell},
};

const TIME_WAIT: u8 = Substate::TimeWait as u8;

/// In jiffies; zero where it is not known, or differs from namespace to namespace.
#[inline(always)]
pub(crate) fn known() -> u64 {
    length::only(cell(Cell::TimewaitLen))
}

/// The timeout that a timer was armed for, from what is left of it.
#[inline(always)]
pub(crate) fn asked(left: u64, substate: u8) -> u64 {
    if substate == TIME_WAIT { length::asked(cell(Cell::TimewaitLen), left) } else { left }
}

/// Learns from an arming of a socket that is asked for: timers that are put on another CPU's wheel look like one, but
/// theirs are followed, and known by that.
#[inline(always)]
pub(crate) fn learn(timeout: u64, substate: u8) {
    const HALF_A_SECOND_NS: u64 = 500_000_000;
    let word = cell(Cell::TimewaitLen);
    if substate != TIME_WAIT || word == timeout {
        return;
    }
    let tolerance = HALF_A_SECOND_NS.checked_div(globals::tick_ns()).unwrap_or(0);
    let learned = length::learned(word, timeout, tolerance);
    // Not every time: all CPUs read this cache line with every event.
    if learned != word {
        set_cell(Cell::TimewaitLen, learned);
        if learned == VARIES {
            count(Counter::LengthVaries);
        }
    }
}

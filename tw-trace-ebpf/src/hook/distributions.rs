//! What the end of a time-wait socket adds to the distributions: times that were seen, not those worked out.

use tw_trace_common::{
    counter::Counter,
    event::NONE_NS,
    histogram::Series,
    state::{ExitReason, Substate},
};

use crate::{
    count::count,
    histogram,
    hook::dated::{self, Dated},
    keys,
    maps::Scratch,
};

/// Counts the end of the socket in the scratch.
#[inline(always)]
pub(crate) fn count_end(scratch: &mut Scratch, dated: &Dated, lateness_ns: u64, reason: ExitReason) {
    let known = &scratch.time_wait;
    if lateness_ns != NONE_NS {
        // The due time is the wheel's, whatever is known of the start.
        histogram::record(Series::Lateness.key(), lateness_ns);
    }
    let is_seen = !dated::is_estimated(known);
    if is_seen && dated.fin_wait2_ns != 0 && dated.fin_wait2_ns != NONE_NS {
        histogram::record(Series::FinWait2.key(), dated.fin_wait2_ns);
    }
    if known.substate == Substate::FinWait2 as u8 {
        count(Counter::EndedInFinWait2);
    } else if is_seen && dated.duration_ns != NONE_NS {
        histogram::record(Series::TimeWait(reason).key(), dated.duration_ns);
        keys::record(scratch, dated.duration_ns);
    } else {
        count(Counter::Undated);
    }
}

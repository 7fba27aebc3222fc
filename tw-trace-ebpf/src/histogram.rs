//! The only writer of histograms.

use tw_trace_common::histogram::index;

use crate::maps::HISTOGRAMS;

/// Counts a value in the histogram with this `Series::key`. A function of its own, which the verifier looks at once, and
/// not with all that each caller knows of the value: that took it as long as all the rest, and set off a warning of 6.18
/// about itself ("REG INVARIANTS VIOLATION").
#[inline(always)]
pub(crate) fn record(series: u32, value: u64) {
    count_in_histogram(u64::from(series), value);
}

/// Returns nothing of interest, but a function that is looked at alone must return a number.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn count_in_histogram(series: u64, value: u64) -> u64 {
    let Some(histogram) = HISTOGRAMS.get_ptr_mut(series as u32) else { return 0 };
    // SAFETY: a map value of this CPU. What interrupts a program and counts too, counts in other series.
    let histogram = unsafe { &mut *histogram };
    histogram.sum = histogram.sum.wrapping_add(value);
    if value > histogram.max {
        histogram.max = value;
    }
    if !value > histogram.min_complement {
        histogram.min_complement = !value;
    }
    if let Some(count) = histogram.counts.get_mut(index(value) as usize) {
        *count += 1;
    }
    0
}

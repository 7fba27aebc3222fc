//! The only writer of histograms.

use tw_trace_common::histogram::index;

use crate::maps::HISTOGRAMS;

/// Counts a value in the histogram with this `Series::key`.
#[inline(always)]
pub(crate) fn record(series: u32, value: u64) {
    let Some(histogram) = HISTOGRAMS.get_ptr_mut(series) else { return };
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
}

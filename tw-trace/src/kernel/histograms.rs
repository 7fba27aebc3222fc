//! The histograms that the kernel side counted.

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{MapData, PerCpuArray},
};
use tw_trace_common::histogram::{Histogram, Series};

use super::load::Loaded;
use crate::buckets::Buckets;

/// A histogram as it lies in the map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct HistogramValue(Histogram);

// SAFETY: a repr(C) struct of integers without padding.
unsafe impl Pod for HistogramValue {}

impl Loaded {
    /// What all CPUs counted so far. Read while programs run, a value may be in one part of it and not yet in another.
    pub fn histogram(&self, series: Series) -> Result<Buckets> {
        let map = self.ebpf.map("HISTOGRAMS").context("the eBPF object has no map HISTOGRAMS")?;
        let map = PerCpuArray::<&MapData, HistogramValue>::try_from(map)?;
        let mut buckets = Buckets::default();
        let second = matches!(series, Series::Dwell(_)).then(|| series.key() + Series::IN_SOFTIRQ);
        for key in [Some(series.key()), second].into_iter().flatten() {
            map.get(&key, 0)?.iter().for_each(|cpu| buckets.add(&cpu.0));
        }
        Ok(buckets)
    }
}

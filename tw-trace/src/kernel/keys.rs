//! The times in TIME_WAIT that the kernel side counted by key.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{HashMap, MapData},
};
use tw_trace_common::keys::{Key, KeyHistogram};

use super::load::Loaded;
use crate::buckets::Buckets;

/// A key as it lies in the map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct KeyValue(Key);

// SAFETY: a repr(C) struct of integers without padding.
unsafe impl Pod for KeyValue {}

/// A key's histogram as it lies in the map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct HistogramValue(KeyHistogram);

// SAFETY: a repr(C) struct of integers without padding.
unsafe impl Pod for HistogramValue {}

impl Loaded {
    /// What was counted so far; nothing is ever taken out of the map.
    pub fn keys(&self) -> Result<BTreeMap<Key, Buckets>> {
        let map = self.ebpf.map("KEYS").context("the eBPF object has no map KEYS")?;
        let map = HashMap::<&MapData, KeyValue, HistogramValue>::try_from(map)?;
        map.iter()
            .map(|entry| {
                let (key, histogram) = entry?;
                Ok((key.0, Buckets::from_counts(&histogram.0.counts, histogram.0.sum)))
            })
            .collect()
    }
}

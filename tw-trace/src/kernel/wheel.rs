//! What the kernel side counted for the wheel view.

use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{Map, MapData, PerCpuArray},
};
use nix::sys::mman::ProtFlags;
use tw_trace_common::{
    config::Cell,
    histogram::Series,
    wheel::{LEVEL_SLOTS, SLOTS, Slot, WheelCpu},
};

use super::{
    load::Loaded,
    mapping::{Mapping, page_size},
    sysfs,
};
use crate::buckets::Buckets;

/// A CPU's counts as they lie in the map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct CpuValue(WheelCpu);

// SAFETY: a repr(C) struct of integers without padding.
unsafe impl Pod for CpuValue {}

/// Buckets of the `WHEEL_SLOTS` map: those of every CPU that there may be.
pub fn slots() -> Result<u32> {
    u32::try_from(sysfs::cpus()?).ok().and_then(|cpus| cpus.checked_mul(SLOTS)).context("too many CPUs")
}

/// A bucket that holds time-wait timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub cpu: u32,
    pub level: u8,
    pub slot: u8,
    /// The jiffy at which it fires.
    pub due: u64,
    pub timers: u64,
}

/// Everything counted up to one moment.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// In the order of CPU, level, slot.
    pub buckets: Vec<Bucket>,
    pub seeded: u64,
    /// By CPU.
    pub cpus: Vec<WheelCpu>,
    pub rounding: Buckets,
    pub lateness: Buckets,
    pub overshoot: Buckets,
    /// Of bursts that are over.
    pub burst_timers: Buckets,
    pub burst_time: Buckets,
}

/// The mapped buckets: reading them takes no system call for each.
pub struct Slots {
    _map: MapData,
    mapping: Mapping,
    count: usize,
}

impl Slots {
    fn filled(&self) -> Vec<Bucket> {
        const WORDS: usize = size_of::<Slot>() / size_of::<u64>();
        let word = |index: usize| self.mapping.word(index).load(Ordering::Relaxed);
        (0..self.count)
            .filter_map(|index| {
                let timers = word(index * WORDS);
                let (cpu, index_in) = (index as u32 / SLOTS, index as u32 % SLOTS);
                (timers > 0).then(|| Bucket {
                    cpu,
                    level: (index_in / LEVEL_SLOTS) as u8,
                    slot: (index_in % LEVEL_SLOTS) as u8,
                    due: word(index * WORDS + 1),
                    timers,
                })
            })
            .collect()
    }
}

impl Loaded {
    /// The buckets, once.
    pub fn take_slots(&mut self) -> Result<Slots> {
        let Some(Map::Array(map)) = self.ebpf.take_map("WHEEL_SLOTS") else {
            anyhow::bail!("the eBPF object has no array WHEEL_SLOTS, or it was already taken");
        };
        let count = slots()? as usize;
        let page = page_size()? as usize;
        let bytes = (count * size_of::<Slot>()).next_multiple_of(page);
        let mapping =
            Mapping::new(&map, 0, bytes, ProtFlags::PROT_READ).context("mapping the wheel's buckets")?;
        Ok(Slots { _map: map, mapping, count })
    }

    /// All of it, CPU after CPU: what happens meanwhile may be in one figure and not yet in another.
    pub fn wheel(&self, slots: &Slots) -> Result<Counted> {
        let map = self.ebpf.map("WHEEL_CPU").context("the eBPF object has no map WHEEL_CPU")?;
        let cpus = PerCpuArray::<&MapData, CpuValue>::try_from(map)?.get(&0, 0)?;
        let seeded = self.cell(Cell::WheelSeeded)?;
        Ok(Counted {
            buckets: slots.filled(),
            seeded,
            cpus: cpus.iter().map(|cpu| cpu.0).collect(),
            rounding: self.histogram(Series::Rounding)?,
            lateness: self.histogram(Series::Lateness)?,
            overshoot: self.histogram(Series::Overshoot)?,
            burst_timers: self.histogram(Series::BurstTimers)?,
            burst_time: self.histogram(Series::BurstTime)?,
        })
    }
}

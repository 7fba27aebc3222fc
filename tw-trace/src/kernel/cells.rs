//! The words that both sides write while the programs run.

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData};
use tw_trace_common::config::{Cell, Phase};

use super::load::Loaded;

impl Loaded {
    pub fn cell(&self, cell: Cell) -> Result<u64> {
        let map = self.ebpf.map("CELLS").context("the eBPF object has no map CELLS")?;
        Ok(Array::<&MapData, u64>::try_from(map)?.get(&(cell as u32), 0)?)
    }

    pub(super) fn set_cell(&mut self, cell: Cell, value: u64) -> Result<()> {
        let map = self.ebpf.map_mut("CELLS").context("the eBPF object has no map CELLS")?;
        Ok(Array::<&mut MapData, u64>::try_from(map)?.set(cell as u32, value, 0)?)
    }

    /// Tells the kernel side how far the run is.
    pub fn set_phase(&mut self, phase: Phase) -> Result<()> {
        self.set_cell(Cell::Phase, phase as u64)
    }
}

//! Cgroups that the kernel side saw processes act from, handed over once, so that their paths are known when they are gone.

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, MapData, MapError};

use super::load::Loaded;

/// Room for those that were seen since the last look; the least recently used go first.
pub(super) const ROOM: u32 = 1 << 12;
/// How many are taken at once: a map that others write to may be gone through without an end.
const AT_ONCE: usize = ROOM as usize;

impl Loaded {
    /// Takes the ids out of the map. One may come again.
    pub fn take_cgroups(&mut self) -> Result<Vec<u64>> {
        let map = self.ebpf.map_mut("CGROUPS_SEEN").context("the eBPF object has no map CGROUPS_SEEN")?;
        let mut map = HashMap::<&mut MapData, u64, u64>::try_from(map)?;
        let ids = map.keys().take(AT_ONCE).collect::<Result<Vec<_>, _>>()?;
        for id in &ids {
            match map.remove(id) {
                // The map itself drops the least recently used.
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(ids)
    }
}

fn is_gone(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::ENOENT))
}

//! The table of living time-wait sockets, read where the kernel side keeps it.

use anyhow::{Context as _, Result, bail};
use aya::maps::{Map, MapData};
use nix::sys::mman::ProtFlags;
use std::sync::atomic::Ordering;
use tw_trace_common::followed::{Line, TimeWait};

use super::{
    load::Loaded,
    mapping::{Mapping, page_size},
};

/// Mapped at once: what is mapped counts as ours, and the lines for a million sockets are 118 to 146 MB.
const WINDOW_BYTES: usize = 1 << 20;
const WORDS: usize = size_of::<Line>() / size_of::<u64>();

impl Loaded {
    /// Time-wait sockets being followed.
    pub fn live(&self) -> Result<u64> {
        let mut live = 0;
        self.each_followed(|_| {
            live += 1;
            Keep::Yes
        })?;
        Ok(live)
    }

    /// Shows each socket that is followed, and lets go of those that are not to be kept, once nothing is attached.
    pub(super) fn each_followed(&self, mut look: impl FnMut(&TimeWait) -> Keep) -> Result<()> {
        let Some(Map::Array(map)) = self.ebpf.map("TIME_WAITS") else {
            bail!("the eBPF object has no array TIME_WAITS");
        };
        let lines = map.info()?.max_entries() as usize;
        let bytes = (lines * size_of::<Line>()).next_multiple_of(page_size()? as usize);
        for offset in (0..bytes).step_by(WINDOW_BYTES) {
            let window = Window::new(map, offset, WINDOW_BYTES.min(bytes - offset))?;
            let lines = lines - offset / size_of::<Line>();
            window.each(lines.min(WINDOW_BYTES / size_of::<Line>()), &mut look);
        }
        Ok(())
    }
}

/// Whether a socket goes on being followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Yes,
    No,
}

/// A part of the table.
struct Window(Mapping);

impl Window {
    fn new(map: &MapData, offset: usize, bytes: usize) -> Result<Self> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        Ok(Self(Mapping::new(map, offset, bytes, access).context("mapping the sockets that are followed")?))
    }

    fn each(&self, lines: usize, look: &mut impl FnMut(&TimeWait) -> Keep) {
        for index in 0..lines {
            let tw = self.0.word(index * WORDS);
            if tw.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // SAFETY: within the mapping, as its first word is; integers only, so that any bytes are a value.
            let line = unsafe { self.0.start().cast::<Line>().add(index).read_volatile() };
            if look(&line.socket) == Keep::No {
                tw.store(0, Ordering::Relaxed);
            }
        }
    }
}

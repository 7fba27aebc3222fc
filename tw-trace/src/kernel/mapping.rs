//! Memory of a map that the kernel side and we share.

use std::{io, num::NonZeroUsize, os::fd::AsFd as _, ptr::NonNull, sync::atomic::AtomicU64};

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use nix::{
    libc::c_void,
    sys::mman::{MapFlags, ProtFlags, mmap, munmap},
    unistd::{SysconfVar, sysconf},
};

/// In bytes: not 4096 everywhere.
pub fn page_size() -> Result<u32> {
    sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| u32::try_from(size).ok()).context("page size")
}

/// Unmapped when dropped.
pub struct Mapping {
    start: NonNull<c_void>,
    len: usize,
}

// SAFETY: memory that belongs to the process, not to a thread; what is in it is only reached through `&self`, atomically, or
// by who keeps the rules of the map.
unsafe impl Send for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `Mapping::new` and handed to nobody.
        let _ = unsafe { munmap(self.start, self.len) };
    }
}

impl Mapping {
    pub fn new(map: &MapData, offset: usize, len: usize, access: ProtFlags) -> io::Result<Self> {
        let length = NonZeroUsize::new(len).ok_or(io::ErrorKind::InvalidInput)?;
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let start = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, map.fd().as_fd(), offset)? };
        Ok(Self { start, len })
    }

    pub const fn start(&self) -> NonNull<c_void> {
        self.start
    }

    /// The `index`th word. Panics behind the end.
    pub fn word(&self, index: usize) -> &AtomicU64 {
        assert!((index + 1) * size_of::<AtomicU64>() <= self.len, "the mapping has no word {index}");
        // SAFETY: page-aligned, mapped as long as `self`, long enough, and only accessed atomically by both sides.
        unsafe { self.start.cast::<AtomicU64>().add(index).as_ref() }
    }
}

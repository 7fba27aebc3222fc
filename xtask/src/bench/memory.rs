//! What memory a process has: its own apart from its eBPF maps', and what the maps take in the kernel.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};

use xtask::fdinfo::{descriptors, field};

/// In KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident now, without what belongs to maps.
    pub(crate) own: u64,
    /// Pages of maps that it has mapped, such as ring buffers; they are the kernel's memory too.
    pub(crate) mapped_maps: u64,
    /// The most that was ever resident, maps included: the kernel does not tell them apart.
    pub(crate) peak: u64,
    /// Kernel memory of all maps that it has.
    pub(crate) maps: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let read = |what: &str| {
            let file = format!("/proc/{pid}/{what}");
            fs::read_to_string(&file).with_context(|| format!("reading {file}"))
        };
        let (own, mapped_maps) = resident(&read("smaps")?);
        let peak = read("status")?.lines().find_map(|line| kib(line, "VmHWM:")).context("VmHWM")?;
        Ok(Self { own, mapped_maps, peak, maps: maps(pid) / 1024 })
    }

    /// The most that its own memory ever was, as far as readings at two times tell: between them it may have been
    /// more only where its peak as a whole has risen, and by less than that.
    pub(crate) fn own_peak(readings: [&Self; 2]) -> u64 {
        readings.map(|at| at.own.max(at.peak.saturating_sub(at.mapped_maps))).into_iter().max().unwrap_or(0)
    }
}

/// Resident memory of everything else, and of mapped eBPF maps.
fn resident(smaps: &str) -> (u64, u64) {
    let (mut own, mut maps, mut in_map) = (0, 0, false);
    for line in smaps.lines() {
        if let Some(size) = kib(line, "Rss:") {
            *(if in_map { &mut maps } else { &mut own }) += size;
        } else if line.split(' ').next().is_some_and(|range| range.contains('-')) {
            in_map = line.ends_with("anon_inode:bpf-map");
        }
    }
    (own, maps)
}

fn kib(line: &str, name: &str) -> Option<u64> {
    line.strip_prefix(name)?.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Bytes of its maps, each once however many descriptors there are.
fn maps(pid: u32) -> u64 {
    let mut sizes = BTreeMap::new();
    for file in descriptors(pid) {
        let Ok(text) = fs::read_to_string(file) else { continue };
        if let (Some(id), Some(size)) = (field(&text, "map_id"), field(&text, "memlock")) {
            sizes.insert(id, size);
        }
    }
    sizes.values().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
55e0-55e1 r-xp 00000000 fe:00 1   /bin/x
Rss:                  10 kB
VmFlags: rd ex
7ff0-7ff1 r--s 00001000 00:10 1038                       anon_inode:bpf-map
Size:              32772 kB
Rss:                  20 kB
7ff1-7ff2 rw-p 00000000 00:00 0
Rss:                   5 kB
";

    #[test]
    fn maps_are_told_apart() {
        assert_eq!(resident(SMAPS), (15, 20));
    }

    #[test]
    fn this_process_has_memory_and_no_maps() {
        let memory = Memory::of(std::process::id()).expect("our own memory");
        assert!(memory.own > 0 && memory.peak >= memory.own && memory.maps == 0);
    }

    #[test]
    fn maps_do_not_count_for_the_peak() {
        let at_start = Memory { own: 20, mapped_maps: 1, peak: 22, maps: 0 };
        let later = Memory { own: 5, mapped_maps: 60, peak: 65, maps: 0 };
        assert_eq!(Memory::own_peak([&at_start, &later]), 21);
    }
}

//! What this kernel has, and what of it tw-trace uses.

pub mod btf;
pub mod callers;
pub mod capability;
pub mod cells;
pub mod cgroup;
pub mod cgroup_use;
pub mod cgroups_seen;
pub mod clock;
#[cfg(feature = "debug-log")]
pub mod debug_log;
pub mod facts;
pub mod followed;
pub mod histograms;
pub mod kallsyms;
pub mod keys;
pub mod learn;
pub mod ledgers;
pub mod load;
mod loader;
pub mod mapping;
pub mod memory;
pub mod mounts;
pub mod names;
pub mod netns;
pub mod offsets;
pub mod pid_namespace;
pub mod plan;
pub mod prepare;
pub mod program;
pub mod seed;
pub mod sizing;
pub mod snapshots;
pub mod tick;
pub mod totals;
pub mod unseen;
pub mod wheel;

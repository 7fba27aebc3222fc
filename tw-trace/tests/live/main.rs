//! tw-trace on the running kernel: real connections, each test in a network namespace of its own.
//!
//! The tracer is the binary that `TW_TRACE_BIN` names, else target/release/tw-trace; the traffic comes from
//! the xtask that `TW_TRACE_XTASK` names, else one that was built before. `cargo xtask test` sets both.

mod all_churn;
mod cgroup_gone;
mod churn;
mod clocks;
mod detach;
mod endings;
mod filters;
mod half_open;
mod harness;
mod hist;
mod hotplug;
mod interfaces;
mod kernel_files;
mod keys_churn;
mod late;
mod less_rights;
mod lifetime;
mod loss;
mod many_namespaces;
mod netns_gone;
mod owners;
mod rate;
mod reasons;
mod run;
mod runs;
mod scale;
#[path = "../common/schema.rs"]
mod schema;
mod seeded;
#[path = "../common/skip.rs"]
mod skip;
mod stuck;
mod substates;
mod suite;
mod surroundings;
mod traffic;
mod wheel;
mod whose;

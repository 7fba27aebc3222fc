//! Real TCP traffic for the demo, the live tests and the benchmarks; never outside a namespace of its own.
//!
//! `scenario` holds the table of everything that can be provoked on purpose, each entry with the numbers a
//! tracer must see; `rate` makes connections as fast as the machine gives them. Both hold themselves against
//! the kernel's counters.

mod await_kernel;
pub mod capability;
pub mod cgroup;
mod child;
pub mod cli;
mod closing;
pub mod counters;
pub mod difference;
mod early;
pub mod expect;
pub mod fast_open;
mod fin_wait2;
mod handshake;
mod interfaces;
mod mirror;
mod orphans;
mod owners;
mod packet;
mod peer;
pub mod rate;
mod rate_socket;
mod rearm;
mod resets;
pub mod scenario;
pub mod scene;
mod seeds;
mod settings;
pub mod sock_diag;
pub(crate) mod tcp;

pub use tcp::{CLIENT_COMM, SERVER_COMM};

//! Experiments with the kernel: programs that `cargo xtask` loads, and that are part of nobody's tw-trace.
#![no_std]
#![no_main]

mod floor;
#[path = "../object.rs"]
mod object;
mod oracle;

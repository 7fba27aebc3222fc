//! The kernel's timer wheels as pure arithmetic: when a timer that was asked for really fires.
//!
//! `modern` is the wheel of all timers since 4.8; `legacy` the one of TIME_WAIT alone up to 4.0. Both know jiffies
//! only; nothing here reads a clock.

pub mod legacy;
pub mod modern;

// Not within `modern`: `cargo xtask oracle` includes that file.
#[cfg(test)]
#[path = "modern/tests.rs"]
mod modern_tests;

//! What the kernel side and the user side both know. No dependencies, no allocation, no policy.
#![no_std]

pub mod config;
pub mod counter;
pub mod event;
pub mod fields;
pub mod state;

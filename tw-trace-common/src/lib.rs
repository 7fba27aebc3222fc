//! What the kernel side and the user side both know. No dependencies, no allocation, no policy.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod config;
pub mod counter;
pub mod event;
pub mod fields;
pub mod followed;
pub mod histogram;
pub mod keys;
pub mod lab;
pub mod length;
pub mod state;
pub mod wheel;

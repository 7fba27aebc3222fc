//! The parts of `cargo xtask` that tests use too.

pub mod backend;
pub mod checks;
pub mod demo;
pub mod distributions;
pub mod fdinfo;
pub mod netns;
pub mod stuck;
pub mod suite;
pub mod traffic;

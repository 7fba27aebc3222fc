//! One file per command.

pub mod doctor;
pub mod hist;
pub mod model;
pub mod setup;
pub mod trace;
pub mod wheel;

//! One file per command.

pub mod doctor;
pub mod model;
pub mod trace;

//! Where records come from: the running kernel, later a recording.

pub mod live;
pub mod ring;
pub mod rings;

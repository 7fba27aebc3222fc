//! Where records come from: the running kernel, later a recording.

pub mod chunk;
pub mod live;
pub mod priority;
pub mod reader;
pub mod ring;
pub mod rings;
pub mod spool;

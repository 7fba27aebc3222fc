//! The parts of tw-trace, for its program, its tests and its fuzz targets. Data flows one way:
//! attach → hook → maps and ring buffer → source → decode → collector → sink.
//!
//! Not a library for others: nothing here is kept stable.

pub mod audit;
pub mod begin;
pub mod buckets;
pub mod cli;
pub mod cmd;
pub mod collector;
pub mod decode;
pub mod escape;
pub mod exit;
pub mod few;
pub mod filter;
pub mod header;
pub mod hostile;
pub mod input;
pub mod kernel;
pub mod model;
pub mod output;
pub mod pipe;
pub mod recorded;
pub mod reseed;
pub mod run;
pub mod sink;
pub mod source;
pub mod start;
pub mod stderr;
pub mod stop;
pub mod summary;
pub mod threads;
pub mod wall_clock;
pub mod warning;
pub mod watch;
pub mod wheel;

#[cfg(test)]
#[path = "../tests/common/records.rs"]
mod made_up;
#[cfg(test)]
#[path = "../tests/common/skip.rs"]
mod skip;

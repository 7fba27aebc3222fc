//! The parts of tw-trace, for its program, its tests and its fuzz targets. Data flows one way:
//! attach → hook → maps and ring buffer → source → decode → collector → sink.
//!
//! Not a library for others: nothing here is kept stable.

//! Whatever `--btf FILE` says: see `tw_trace::hostile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tw_trace::hostile::btf(bytes));

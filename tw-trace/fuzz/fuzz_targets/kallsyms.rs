//! Whatever /proc/kallsyms says: reading it ends without a panic, and no function ends before it begins.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tw_trace::kernel::kallsyms::find;

fuzz_target!(|text: &[u8]| {
    if let Ok(symbols) = find(text, &["a", "tcp_abort", "_etext"]) {
        assert!(symbols.iter().all(|symbol| symbol.start <= symbol.end));
    }
});

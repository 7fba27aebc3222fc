//! BTF of any kind may be handed over with --btf: reading it ends, without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tw_trace::kernel::btf::Btf;
use tw_trace::kernel::facts::{FUNCTIONS, TRACE_EVENTS};
use tw_trace::kernel::offsets::resolve_offsets;

fuzz_target!(|bytes: &[u8]| {
    let Ok(btf) = Btf::parse(bytes) else { return };
    let _ = resolve_offsets(&btf);
    for name in ["a", "ab", "sock"] {
        let _ = (btf.offset_of(name, "a"), btf.offset_of(name, "a.b"), btf.type_size(name));
    }
    for name in FUNCTIONS {
        let _ = btf.function_params(name);
    }
    for name in TRACE_EVENTS {
        let _ = btf.trace_event_params(name);
    }
});

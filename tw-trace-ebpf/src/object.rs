//! What every object needs besides its programs: a panic handler that none reaches, and its license.

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier would refuse a program from which this could be reached.
    loop {}
}

/// The verifier lets only GPL-compatible programs call `bpf_probe_read_kernel` and `bpf_get_stack`.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

//! Experiments with the kernel: programs that `cargo xtask` loads, and that are part of nobody's tw-trace.
#![no_std]
#![no_main]

mod floor;
mod oracle;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier would refuse a program from which this could be reached.
    loop {}
}

/// The verifier lets only GPL-compatible programs call `bpf_probe_read_kernel`.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

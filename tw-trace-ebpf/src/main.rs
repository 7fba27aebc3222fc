//! The kernel side of tw-trace: attach shims → hooks → maps and ring buffer.
//!
//! Shims (`attach/`) extract arguments and nothing else; hooks (`hook/`) hold the logic, once, and take plain
//! values; `sock` and `task` are the only readers of kernel memory; `emit` is the only writer of the ring buffer. Nothing
//! here decides what is worth showing beyond the filters that user space passes in `globals`.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod attach {
    pub(crate) mod calibrate;
    pub(crate) mod fentry;
    pub(crate) mod iter_tcp;
    pub(crate) mod kprobe;
    pub(crate) mod trace_event;
    pub(crate) mod wheel;
}
mod hook {
    pub(crate) mod acting;
    pub(crate) mod alone;
    pub(crate) mod child;
    pub(crate) mod dated;
    pub(crate) mod dccp;
    pub(crate) mod distributions;
    pub(crate) mod ended;
    pub(crate) mod hidden;
    pub(crate) mod length;
    pub(crate) mod life;
    pub(crate) mod overflow;
    pub(crate) mod owner;
    pub(crate) mod seed;
    pub(crate) mod segment;
    pub(crate) mod set_state;
    pub(crate) mod time_wait;
    pub(crate) mod timer;
    pub(crate) mod wheel;
}
mod count;
mod emit;
mod ends;
mod filter;
mod followed;
mod globals;
mod histogram;
mod keys;
mod maps;
mod memory;
mod neighbours;
mod object;
mod sock;
mod sockets;
mod stack;
mod states;
mod task;
mod words;

//! Names of the kernel that tw-trace looks for. Only names: `xtask/src/kernel_data.rs` includes this file to cut the
//! types and symbols of a kernel down to what the tests of the plan need.

/// Trace events that tw-trace can use.
pub const TRACE_EVENTS: &[&str] =
    &["inet_sock_set_state", "timer_start", "timer_cancel", "timer_expire_entry"];

/// Functions that probes or reasons can lean on (docs: where each exists).
pub const FUNCTIONS: &[&str] = &[
    "tcp_set_state",
    "inet_sk_set_state",
    "inet_sk_state_store",
    "tcp_time_wait",
    "inet_twsk_alloc",
    "__inet_twsk_schedule",
    "inet_twsk_hashdance",
    "inet_twsk_hashdance_schedule",
    "tw_timer_handler",
    "inet_twsk_kill",
    "inet_twsk_deschedule_put",
    "inet_twsk_free",
    "inet_twsk_purge",
    "tcp_twsk_purge",
    "tcp_timewait_state_process",
    "tcp_twsk_unique",
    "__inet_check_established",
    "__inet6_check_established",
    "__inet_hash_connect",
    "tcp_v4_connect",
    "tcp_v6_connect",
    "tcp_v4_rcv",
    "tcp_v6_rcv",
    "tcp_abort",
    "inet_csk_get_port",
    "inet_csk_accept",
    "calc_wheel_index",
];

/// What BPF trampolines hang on ftrace with, by version; looked for in kallsyms too.
pub const FTRACE_DIRECT: &[&str] = &["register_ftrace_direct", "update_ftrace_direct_add"];

/// CONFIG_KPROBES.
pub const KPROBES: &str = "register_kprobe";
/// The `iter/tcp` BPF iterator (5.9).
pub const ITER_TCP: &str = "bpf_iter_tcp";
/// What tracing programs get when they ask for a socket's cookie (5.12).
pub const COOKIES: &str = "bpf_get_socket_ptr_cookie";
/// BPF_MAP_TYPE_RINGBUF (5.8): a struct.
pub const RING_BUFFER: &str = "bpf_ringbuf";
/// With this member the kernel counts TcpExt TW when the timer fires, not when it is armed.
pub const TW_KILL: (&str, &str) = ("inet_timewait_sock", "tw_kill");

/// The function that every time-wait timer runs (net/ipv4/inet_timewait_sock.c).
pub const TIMER_HANDLER: &str = "tw_timer_handler";

/// Functions whose frames tell why a timer was taken off the wheel, by what they tell.
pub mod frames {
    pub const FIRING: &[&str] = &[
        "__run_timers",
        "expire_timers",
        "__run_timer_base",
        "run_timer_base",
        "run_timer_softirq",
        "timer_expire_remote",
    ];
    pub const REARMING: &[&str] = &["mod_timer", "mod_timer_pending", "__mod_timer"];
    pub const CONNECT: &[&str] =
        &["__inet_check_established", "__inet6_check_established", "__inet_hash_connect"];
    pub const STATE_PROCESS: &[&str] = &["tcp_timewait_state_process"];
    pub const RECEIVE: &[&str] = &["tcp_v4_rcv", "tcp_v6_rcv"];
    pub const ABORT: &[&str] = &["tcp_abort"];
    pub const MOVING: &[&str] = &["migrate_timer_list", "timers_dead_cpu"];
    pub const PURGE: &[&str] = &["inet_twsk_purge", "tcp_twsk_purge"];

    pub const ALL: &[&[&str]] = &[FIRING, REARMING, CONNECT, STATE_PROCESS, RECEIVE, ABORT, MOVING, PURGE];
}

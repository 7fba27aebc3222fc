//! THE table of programs: every task, the ways to do it per backend, best first, and what each cannot see.

use super::{
    Attach::{Entry, Exit, Iterator, Probe, ReturnProbe, TraceEvent},
    Backend::{self, Fentry, Kprobe, Tracepoint},
    Params::{self, AtLeast, Exactly},
    Program, Serves,
};

/// Something that a view needs to have told.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) serves: Serves,
    /// For people.
    pub(super) what: &'static str,
    /// Best first.
    pub(super) ways: &'static [Way],
    pub(super) without: Without,
}

impl Task {
    pub(super) fn programs(&self) -> impl std::iter::Iterator<Item = &'static Program> {
        self.ways.iter().flat_map(|way| way.programs)
    }
}

/// Programs that together do a task.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) backends: &'static [Backend],
    /// In the order of attaching.
    pub(super) programs: &'static [Program],
    pub(super) cannot_see: &'static [&'static str],
    /// What it cannot see and nothing counts.
    pub(super) uncovered: &'static [&'static str],
}

/// What follows when no way is open.
#[derive(Debug)]
pub(super) enum Without {
    /// The backend cannot work; why.
    Refuse(&'static str),
    /// It can; what it then cannot see, though it is counted.
    CannotSee(&'static str),
    /// The same, and nothing counts it.
    Uncovered(&'static str),
}

const fn program(name: &'static str, attach: super::Attach, params: Params) -> Program {
    Program { name, attach, params }
}

/// A way that sees everything its task is about.
const fn way(backends: &'static [Backend], programs: &'static [Program]) -> Way {
    Way { backends, programs, cannot_see: &[], uncovered: &[] }
}

const PASSED_OVER: &str = "probes that are hit while another one runs on the same CPU: the kernel passes them over, and \
                           counts them from Linux 6.7 on";

/// In the order of attaching. Of a pair of entry and return, the return comes first: alone it does nothing.
pub(super) const TASKS: &[Task] = &[
    Task {
        serves: Serves::States,
        what: "state changes and owners",
        ways: &[
            way(
                &[Fentry],
                &[
                    program("fentry_tcp_set_state", Entry("tcp_set_state"), Exactly(2)),
                    program("fentry_inet_sk_set_state", Entry("inet_sk_set_state"), Exactly(2)),
                    program("fentry_listen", Entry("inet_sk_state_store"), Exactly(2)),
                ],
            ),
            way(
                &[Fentry],
                &[
                    program("fentry_inet_sk_set_state", Entry("inet_sk_set_state"), Exactly(2)),
                    program("fentry_inet_sk_state_store", Entry("inet_sk_state_store"), Exactly(2)),
                ],
            ),
            Way {
                backends: &[Kprobe],
                programs: &[
                    program("kprobe_tcp_set_state", Probe("tcp_set_state"), Exactly(2)),
                    program("kprobe_inet_sk_set_state", Probe("inet_sk_set_state"), Exactly(2)),
                    program("kprobe_listen", Probe("inet_sk_state_store"), Exactly(2)),
                ],
                cannot_see: &[PASSED_OVER],
                uncovered: &[],
            },
            Way {
                backends: &[Kprobe],
                programs: &[
                    program("kprobe_inet_sk_set_state", Probe("inet_sk_set_state"), Exactly(2)),
                    program("kprobe_inet_sk_state_store", Probe("inet_sk_state_store"), Exactly(2)),
                ],
                cannot_see: &[PASSED_OVER],
                uncovered: &[],
            },
            way(
                &[Fentry, Kprobe, Tracepoint],
                &[program("tp_inet_sock_set_state", TraceEvent("inet_sock_set_state"), Params::None)],
            ),
            Way {
                backends: &[Fentry],
                programs: &[program("fentry_tcp_set_state", Entry("tcp_set_state"), Exactly(2))],
                cannot_see: &[],
                uncovered: &[ONLY_TCP_SET_STATE],
            },
            Way {
                backends: &[Kprobe],
                programs: &[program("kprobe_tcp_set_state", Probe("tcp_set_state"), Exactly(2))],
                cannot_see: &[PASSED_OVER],
                uncovered: &[ONLY_TCP_SET_STATE],
            },
        ],
        without: Without::Refuse("no state changes and no owners could be told"),
    },
    Task {
        serves: Serves::NestedStates,
        what: "state changes that interrupt others",
        // Behind those of `Serves::States`, which are attached first: programs of one event run in that order.
        ways: &[way(
            &[Fentry, Kprobe, Tracepoint],
            &[program("tp_inet_sock_set_state_again", TraceEvent("inet_sock_set_state"), Params::None)],
        )],
        without: Without::CannotSee("state changes that interrupt the program for another one on their CPU"),
    },
    Task {
        serves: Serves::Ends,
        what: "re-arms and ends",
        ways: &[
            way(
                &[Fentry],
                &[
                    program("fentry_inet_twsk_kill", Entry("inet_twsk_kill"), Exactly(1)),
                    program("fentry_tw_timer_handler", Entry("tw_timer_handler"), Exactly(1)),
                    program("fexit_inet_twsk_schedule", Exit("__inet_twsk_schedule"), Exactly(3)),
                    program("fentry_inet_twsk_schedule", Entry("__inet_twsk_schedule"), Exactly(3)),
                ],
            ),
            way(
                &[Kprobe],
                &[
                    program("kprobe_inet_twsk_kill", Probe("inet_twsk_kill"), Exactly(1)),
                    program("kprobe_tw_timer_handler", Probe("tw_timer_handler"), Exactly(1)),
                    program("kretprobe_inet_twsk_schedule", ReturnProbe("__inet_twsk_schedule"), Exactly(3)),
                    program("kprobe_inet_twsk_schedule", Probe("__inet_twsk_schedule"), Exactly(3)),
                ],
            ),
            Way {
                backends: &[Fentry, Kprobe, Tracepoint],
                programs: &[
                    program("tp_timer_expire_entry", TraceEvent("timer_expire_entry"), Params::None),
                    program("tp_timer_cancel", TraceEvent("timer_cancel"), Params::None),
                ],
                cannot_see: &[
                    "a re-arm into the same wheel slot fires no timer event: it is found at the exit, \
                               where the timer's expiry has moved, and dated to a jiffy",
                ],
                uncovered: &[],
            },
        ],
        without: Without::Refuse("no ends of time-wait sockets could be told"),
    },
    Task {
        serves: Serves::Causes,
        what: "causes of re-arms",
        ways: &[
            way(
                &[Fentry],
                &[program(
                    "fentry_tcp_timewait_state_process",
                    Entry("tcp_timewait_state_process"),
                    AtLeast(3),
                )],
            ),
            way(
                &[Kprobe],
                &[program(
                    "kprobe_tcp_timewait_state_process",
                    Probe("tcp_timewait_state_process"),
                    AtLeast(3),
                )],
            ),
        ],
        without: Without::CannotSee(
            "the cause of a re-arm is told for a FIN in FIN_WAIT2 only: timer events do not carry the segment",
        ),
    },
    Task {
        serves: Serves::Overflows,
        what: "connections that skip TIME_WAIT",
        ways: &[
            way(&[Fentry], &[program("fexit_inet_twsk_alloc", Exit("inet_twsk_alloc"), Exactly(3))]),
            way(
                &[Kprobe],
                &[
                    program("kretprobe_inet_twsk_alloc", ReturnProbe("inet_twsk_alloc"), Exactly(3)),
                    program("kprobe_inet_twsk_alloc", Probe("inet_twsk_alloc"), Exactly(3)),
                ],
            ),
        ],
        without: Without::CannotSee(
            "connections that skip TIME_WAIT (tw_overflow) are counted from TcpExt, not told one by one",
        ),
    },
    Task {
        serves: Serves::Armings,
        what: "beginnings",
        // A BTF trace event needs no trampoline, is under the timer's lock, and is there even where the function
        // that arms is inlined (`inet_twsk_hashdance_schedule`, 6.11): the best way for every backend.
        ways: &[way(
            &[Fentry, Kprobe, Tracepoint],
            &[program("tp_timer_start", TraceEvent("timer_start"), Params::None)],
        )],
        without: Without::Refuse("no beginnings of time-wait sockets could be told"),
    },
    Task {
        serves: Serves::Seeds,
        what: "sockets of before the start",
        ways: &[way(&[Fentry, Kprobe, Tracepoint], &[program("iter_tcp", Iterator("tcp"), Params::None)])],
        without: Without::Uncovered("sockets in TIME_WAIT before the start are not told"),
    },
    Task {
        serves: Serves::Wheel,
        what: "timers on the wheel",
        // Timers tell everything about themselves, and of a cancelled one the stack tells why.
        ways: &[way(
            &[Tracepoint],
            &[
                program("wheel_timer_expire_entry", TraceEvent("timer_expire_entry"), Params::None),
                program("wheel_timer_cancel", TraceEvent("timer_cancel"), Params::None),
                program("wheel_timer_start", TraceEvent("timer_start"), Params::None),
                program("wheel_iter_tcp", Iterator("tcp"), Params::None),
            ],
        )],
        without: Without::Refuse("the wheel is told from trace events alone; use --backend tracepoint"),
    },
];

const ONLY_TCP_SET_STATE: &str =
    "LISTEN, and the SYN_RECV of a listener's child, are set past tcp_set_state and not told";

/// What no state event tells of the time in SYN_RECV.
pub(super) const HALF_OPEN: &str = "half-open connections (SYN-RECV in ss) are requests without an event of their own: the time in \
    SYN_RECV is the kernel's own from the SYN-ACK to the ACK, null where the SYN-ACK was sent again, up to 64 ms too long \
    with SYN cookies; handshakes that do not end are not told";

/// What no way sees where `kernel.init_private` is set.
pub(super) const HIDDEN_BY_INIT: &str = "what happens while process 1 is on a CPU, in interrupts and softirqs too: this kernel \
    (kernel.init_private = 1) then runs no tracing program; whole bursts of expiries may go unseen, and are counted as \
    lost once they are found to be gone; entries, re-arms and state changes that go unseen are not counted";

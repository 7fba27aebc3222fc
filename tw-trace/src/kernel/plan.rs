//! THE table of programs: what each attaches to per backend, what it serves, what is lost without it.
//! The choice among them is pure and goes by what the kernel has, never by its version.

use std::fmt;

use tw_trace_common::event::Kind;

use super::facts::Facts;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Fentry,
    Kprobe,
    Tracepoint,
}

impl Backend {
    /// In the order in which `auto` tries them.
    pub const ALL: [Self; 3] = [Self::Fentry, Self::Kprobe, Self::Tracepoint];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a program reaches the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// A BTF trace event (`tp_btf`).
    TraceEvent(&'static str),
    /// A BPF iterator, read once per network namespace.
    Iterator(&'static str),
}

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// State changes and dwell times.
    States,
    /// Owners of time-wait sockets; the same program as for the states.
    Owners,
    /// Entries, re-arms and ends of time-wait sockets.
    TimeWaits,
    /// How long TIME_WAIT is: the program that sees timers being armed.
    Armings,
    /// Sockets that were in TIME_WAIT before the start.
    Seeds,
}

/// One program of the eBPF object.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    /// As in the object.
    pub name: &'static str,
    pub backend: Backend,
    pub attach: Attach,
    pub serves: &'static [Serves],
    pub without: &'static str,
}

/// In the order of attaching: ends are watched before beginnings, so that nothing begins unwatched.
pub const PROGRAMS: &[Program] = &[
    Program {
        name: "tp_inet_sock_set_state",
        backend: Backend::Tracepoint,
        attach: Attach::TraceEvent("inet_sock_set_state"),
        serves: &[Serves::States, Serves::Owners],
        without: "no state changes, no owners",
    },
    Program {
        name: "tp_timer_expire_entry",
        backend: Backend::Tracepoint,
        attach: Attach::TraceEvent("timer_expire_entry"),
        serves: &[Serves::TimeWaits],
        without: "no expiries",
    },
    Program {
        name: "tp_timer_cancel",
        backend: Backend::Tracepoint,
        attach: Attach::TraceEvent("timer_cancel"),
        serves: &[Serves::TimeWaits],
        without: "no early ends",
    },
    Program {
        name: "tp_timer_start",
        backend: Backend::Tracepoint,
        attach: Attach::TraceEvent("timer_start"),
        serves: &[Serves::TimeWaits, Serves::Armings],
        without: "no entries, no re-arms",
    },
    Program {
        name: "iter_tcp",
        backend: Backend::Tracepoint,
        attach: Attach::Iterator("tcp"),
        serves: &[Serves::Seeds],
        without: "sockets in TIME_WAIT before the start are not told",
    },
];

/// What a backend cannot see on any kernel.
const fn blind_spots(backend: Backend) -> &'static [&'static str] {
    match backend {
        Backend::Fentry | Backend::Kprobe => &[],
        Backend::Tracepoint => &[
            "a re-arm into the same wheel slot fires no timer event: it is found at the exit, where the timer's \
             expiry has moved, and dated to a jiffy",
            "the cause of a re-arm is told for a FIN in FIN_WAIT2 only: trace events do not carry the segment",
            "connections that skip TIME_WAIT (tw_overflow) are counted from TcpExt, not told one by one",
        ],
    }
}

/// What a view wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants(pub u16);

impl Wants {
    /// Everything that any of these kinds of record needs.
    pub fn kinds(kinds: &[Kind]) -> Self {
        Self(kinds.iter().fold(0, |mask, kind| mask | kind.bit()))
    }

    pub fn states(self) -> bool {
        self.0 & Kind::State.bit() != 0
    }

    pub fn time_waits(self) -> bool {
        self.0 & !Kind::State.bit() != 0
    }

    fn needs(self, serves: &[Serves]) -> bool {
        serves.iter().any(|serves| match serves {
            Serves::States => self.states(),
            Serves::Owners | Serves::TimeWaits | Serves::Armings | Serves::Seeds => self.time_waits(),
        })
    }
}

/// The programs that a view attaches on this kernel.
#[derive(Debug)]
pub struct Plan {
    pub backend: Backend,
    pub programs: Vec<&'static Program>,
    pub blind_spots: Vec<String>,
}

/// Why a backend cannot do the work here: what is missing, with its consequence and the next step.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub backend: Backend,
    pub reasons: Vec<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} backend cannot work here: {}", self.backend, self.reasons.join("; "))
    }
}

impl std::error::Error for Refusal {}

/// The plan of one backend.
pub fn plan(backend: Backend, facts: &Facts, wants: Wants) -> Result<Plan, Refusal> {
    let rows: Vec<_> =
        PROGRAMS.iter().filter(|row| row.backend == backend && wants.needs(row.serves)).collect();
    let mut reasons = facts.missing_for(backend);
    if rows.is_empty() {
        reasons.insert(
            0,
            "this version of tw-trace has no programs for it yet; use --backend tracepoint".to_owned(),
        );
    }
    if backend == Backend::Tracepoint && wants.0 == Kind::TwOverflow.bit() {
        reasons.push(
            "connections that skip TIME_WAIT cannot be told one by one from trace events, so nothing would be told; \
             the summary of a run without --events counts them"
                .to_owned(),
        );
    }
    let mut blind_spots: Vec<String> = blind_spots(backend).iter().map(|&spot| spot.to_owned()).collect();
    let mut programs = Vec::new();
    for row in rows {
        match row.attach {
            Attach::TraceEvent(event) if !facts.has_trace_event(event) => {
                reasons.push(format!("the kernel has no BTF trace event {event} ({})", row.without));
            }
            Attach::Iterator(target) if !facts.has_iterator(target) => {
                blind_spots.push(format!("no BPF iterator over {target} sockets: {}", row.without));
            }
            Attach::TraceEvent(_) | Attach::Iterator(_) => programs.push(row),
        }
    }
    if reasons.is_empty() {
        Ok(Plan { backend, programs, blind_spots })
    } else {
        Err(Refusal { backend, reasons })
    }
}

/// The first backend, in the order of [`Backend::ALL`], that can do the work; or why none can.
pub fn auto(facts: &Facts, wants: Wants) -> Result<Plan, Vec<Refusal>> {
    let mut refusals = Vec::new();
    for backend in Backend::ALL {
        match plan(backend, facts, wants) {
            Ok(plan) => return Ok(plan),
            Err(refusal) => refusals.push(refusal),
        }
    }
    Err(refusals)
}

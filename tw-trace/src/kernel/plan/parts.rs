//! What plans are made of: programs, where they hang, and what for.

use std::fmt;

use super::table::{TASKS, Task};

/// How a program reaches the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// A BTF trace event (`tp_btf`).
    TraceEvent(&'static str),
    /// The entry of a function, through a trampoline (`fentry`).
    Entry(&'static str),
    /// Its return (`fexit`).
    Exit(&'static str),
    /// The entry of a function, through a breakpoint (`kprobe`).
    Probe(&'static str),
    /// Its return (`kretprobe`).
    ReturnProbe(&'static str),
    /// A BPF iterator, read once per network namespace.
    Iterator(&'static str),
}

impl Attach {
    /// The kernel function it hangs on, if it is one.
    pub const fn function(self) -> Option<&'static str> {
        match self {
            Self::Entry(name) | Self::Exit(name) | Self::Probe(name) | Self::ReturnProbe(name) => Some(name),
            Self::TraceEvent(_) | Self::Iterator(_) => None,
        }
    }

    /// The kernel's type that says what it is attached to.
    fn type_name(self) -> Option<String> {
        match self {
            Self::TraceEvent(event) => Some(format!("btf_trace_{event}")),
            Self::Entry(function) | Self::Exit(function) => Some(function.to_owned()),
            Self::Iterator(of) => Some(format!("bpf_iter_{of}")),
            Self::Probe(_) | Self::ReturnProbe(_) => None,
        }
    }
}

impl fmt::Display for Attach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TraceEvent(name) => write!(f, "trace event {name}"),
            Self::Entry(name) | Self::Probe(name) => write!(f, "{name}()"),
            Self::Exit(name) | Self::ReturnProbe(name) => write!(f, "return of {name}()"),
            Self::Iterator(name) => write!(f, "iterator over {name} sockets"),
        }
    }
}

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// State changes and dwell times, and with them the owners of time-wait sockets.
    States,
    /// State changes that interrupt the program for another one.
    NestedStates,
    /// Re-arms and ends of time-wait sockets.
    Ends,
    /// What restarted a clock.
    Causes,
    /// Connections that skip TIME_WAIT.
    Overflows,
    /// Timers being armed: beginnings, and how long TIME_WAIT is.
    Armings,
    /// Sockets that were in TIME_WAIT before the start.
    Seeds,
    /// Time-wait timers by bucket of the wheel.
    Wheel,
}

/// What is lost when the kernel does not run a program inside itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    Nothing,
    /// A state change, if the second program does not take it.
    StateChange,
    Event,
}

impl Missed {
    /// Of the program of this name.
    pub fn by(name: &str) -> Self {
        match TASKS.iter().find(|task| task.programs().any(|program| program.name == name)) {
            // The second program is only inside itself where the first one was not, and listen() is made in process
            // context alone.
            Some(task) if task.serves == Serves::NestedStates || name.ends_with("_listen") => Self::Nothing,
            Some(task) if task.serves == Serves::States => Self::StateChange,
            Some(_) | None => Self::Event,
        }
    }
}

/// One program of the eBPF object.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    /// As in the object.
    pub name: &'static str,
    pub attach: Attach,
    pub params: Params,
}

/// The parameters that the function must have for a program to read them right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Params {
    /// No function.
    None,
    Exactly(u32),
    /// Those behind are not read.
    AtLeast(u32),
}

impl Params {
    pub const fn fit(self, found: u32) -> bool {
        match self {
            Self::None => true,
            Self::Exactly(wanted) => found == wanted,
            Self::AtLeast(wanted) => found >= wanted,
        }
    }
}

/// Names of the kernel's types that any program is attached by, as aya asks for them.
pub fn attach_types() -> Vec<String> {
    let programs = TASKS.iter().flat_map(Task::programs);
    let mut names: Vec<String> = programs.filter_map(|program| program.attach.type_name()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

//! What is measured: tw-trace's views as a table, and beside them peers and lower bounds, all as one kind of thing.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use xtask::backend::Backend;

use super::load::Generator;
use super::process::{self, Sign};
use super::told::Told;

/// A view of tw-trace.
pub(crate) struct View {
    pub(crate) name: &'static str,
    pub(crate) args: &'static [&'static str],
    /// With which its instructions are counted: those that have programs of their own for it, and only one where
    /// another view has the same programs.
    pub(crate) backends: &'static [Backend],
    pub(crate) tells: Tells,
}

/// What its process works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tells {
    /// Each connection: its work is by connection.
    Connections,
    /// What the kernel has counted, now and then: its work is by time.
    Counts,
}

const FUNCTIONS_TOO: &[Backend] = &[Backend::Tracepoint, Backend::Fentry];
const TRACE_EVENTS: &[Backend] = &[Backend::Tracepoint];

/// A new one is one more row.
pub(crate) const VIEWS: &[View] = &[
    View {
        name: "trace --json, everything",
        args: &["trace", "--json"],
        backends: FUNCTIONS_TOO,
        tells: Tells::Connections,
    },
    View { name: "trace, everything", args: &["trace"], backends: TRACE_EVENTS, tells: Tells::Connections },
    View {
        name: "trace --json, TIME_WAIT",
        args: &["trace", "--json", "--events", "tw_enter,tw_rearm,tw_exit"],
        backends: FUNCTIONS_TOO,
        tells: Tells::Connections,
    },
    View {
        name: "wheel --json",
        args: &["wheel", "--json", "--interval", "1s"],
        backends: TRACE_EVENTS,
        tells: Tells::Counts,
    },
    View {
        name: "hist --json, TIME_WAIT",
        args: &["hist", "--json", "--of", "time-wait", "--interval", "1s"],
        backends: FUNCTIONS_TOO,
        tells: Tells::Counts,
    },
    View {
        name: "hist --json, everything",
        args: &["hist", "--json", "--interval", "1s"],
        backends: FUNCTIONS_TOO,
        tells: Tells::Counts,
    },
];

/// Something whose cost is measured.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) scope: Scope,
    pub(crate) sign: Sign,
    /// What is to be read from its output.
    pub(crate) told: Told,
    /// Which program that is, as it calls itself.
    pub(crate) version: Option<String>,
}

/// How it gets to see the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// It is told the namespace: `--netns INODE`.
    Filter,
    /// It watches the whole machine, and looks for a tracefs.
    Machine,
    /// It watches the whole machine, and needs nothing.
    Events,
    /// It is started in the load's namespace.
    Namespace,
}

impl Subject {
    /// A view of this tw-trace.
    pub(crate) fn view(tw_trace: PathBuf, view: &View) -> Self {
        Self {
            name: view.name.to_owned(),
            program: tw_trace,
            args: view.args.iter().map(|&arg| arg.to_owned()).collect(),
            scope: Scope::Filter,
            sign: Sign::Output,
            told: if view.args.contains(&"--json") { Told::Summary } else { Told::Unread },
            version: None,
        }
    }

    pub(crate) fn command(&self, load: &Generator) -> Result<Command> {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        match self.scope {
            Scope::Filter => drop(command.args(["--netns", &load.netns.to_string()])),
            Scope::Machine => process::with_tracefs(&mut command),
            Scope::Namespace => process::in_netns_of(&mut command, load.pid())?,
            Scope::Events => {}
        }
        Ok(command)
    }
}

//! One program of each kind: loaded, attached, detached, and what the kernel said when it refused one.

use std::{error::Error, fmt, io};

use anyhow::{Context as _, Result};
use aya::{
    Btf, Ebpf,
    programs::{
        BtfTracePoint, FEntry, FExit, Iter, KProbe, Program as Loadable, ProgramError, fentry::FEntryLinkId,
        fexit::FExitLinkId, kprobe::KProbeLinkId, tp_btf::BtfTracePointLinkId,
    },
};

use super::plan::{Attach, FunctionNames, Program};

/// Keeps one program attached.
pub(super) enum Link {
    TraceEvent(BtfTracePointLinkId),
    Entry(FEntryLinkId),
    Exit(FExitLinkId),
    Probe(KProbeLinkId),
}

/// The kernel refused a program: at the verifier, or when it was to be attached.
#[derive(Debug)]
pub struct Refused {
    pub program: &'static Program,
    /// In one line.
    pub why: String,
    /// What the verifier said, as much as it was asked to.
    pub log: String,
    pub extent: Extent,
}

/// How far a refusal reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// This program; others of its kind may do.
    Program,
    /// The kernel attaches none of this kind.
    Kind,
}

impl Refused {
    /// Without the log.
    pub fn in_one_line(&self) -> String {
        format!(
            "the kernel refused the program {} ({}): {}",
            self.program.name, self.program.attach, self.why
        )
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_one_line())?;
        let tail = tail(&self.log);
        if !tail.is_empty() {
            write!(f, "; the end of the verifier's log:")?;
        }
        tail.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl Error for Refused {}

/// The last lines of a log that say something.
fn tail(log: &str) -> Vec<&str> {
    const LINES: usize = 12;
    let lines: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].to_vec()
}

/// Loads a program, ready to attach.
pub(super) fn load(
    program: &mut Loadable,
    row: &'static Program,
    names: &FunctionNames,
    btf: &Btf,
) -> Result<()> {
    match row.attach {
        Attach::TraceEvent(event) => typed::<BtfTracePoint>(program)?.load(event, btf),
        Attach::Entry(function) => typed::<FEntry>(program)?.load(names.type_name(function), btf),
        Attach::Exit(function) => typed::<FExit>(program)?.load(names.type_name(function), btf),
        Attach::Probe(_) | Attach::ReturnProbe(_) => typed::<KProbe>(program)?.load(),
        Attach::Iterator(target) => typed::<Iter>(program)?.load(target, btf),
    }
    .map_err(|error| Refused::loading(row, &error).into())
}

/// Attaches a loaded program; an iterator is not attached but opened, by the seeding.
pub(super) fn attach(ebpf: &mut Ebpf, row: &'static Program, names: &FunctionNames) -> Result<Option<Link>> {
    let program = ebpf.program_mut(row.name).context("a loaded program is gone")?;
    let link = match row.attach {
        Attach::TraceEvent(_) => typed::<BtfTracePoint>(program)?.attach().map(Link::TraceEvent),
        Attach::Entry(_) => typed::<FEntry>(program)?.attach().map(Link::Entry),
        Attach::Exit(_) => typed::<FExit>(program)?.attach().map(Link::Exit),
        Attach::Probe(function) | Attach::ReturnProbe(function) => {
            typed::<KProbe>(program)?.attach(names.symbol(function), 0).map(Link::Probe)
        }
        Attach::Iterator(_) => return Ok(None),
    };
    link.map(Some).map_err(|error| Refused::attaching(row, &error).into())
}

impl Link {
    pub(super) fn detach(self, ebpf: &mut Ebpf, row: &Program) -> Result<()> {
        let program = ebpf.program_mut(row.name).context("a loaded program is gone")?;
        match self {
            Self::TraceEvent(link) => typed::<BtfTracePoint>(program)?.detach(link)?,
            Self::Entry(link) => typed::<FEntry>(program)?.detach(link)?,
            Self::Exit(link) => typed::<FExit>(program)?.detach(link)?,
            Self::Probe(link) => typed::<KProbe>(program)?.detach(link)?,
        }
        Ok(())
    }
}

/// The program as the kind that the plan says it is.
fn typed<'a, P>(program: &'a mut Loadable) -> Result<&'a mut P, ProgramError>
where
    &'a mut P: TryFrom<&'a mut Loadable, Error = ProgramError>,
{
    program.try_into()
}

impl Refused {
    fn loading(program: &'static Program, error: &ProgramError) -> Self {
        let ProgramError::LoadError { io_error, verifier_log } = error else {
            return Self { program, why: chain(error), log: String::new(), extent: Extent::Program };
        };
        let log = verifier_log.to_string();
        // What the verifier has looked at, it says something about.
        let extent = if log.is_empty() { Extent::of(io_error) } else { Extent::Program };
        Self { program, why: io_error.to_string(), log, extent }
    }

    fn attaching(program: &'static Program, error: &ProgramError) -> Self {
        let extent = io_error(error).map_or(Extent::Program, Extent::of);
        Self { program, why: format!("attaching failed: {}", chain(error)), log: String::new(), extent }
    }
}

impl Extent {
    /// What a kernel answers that attaches nothing of a kind: EPERM and EACCES where function tracing is locked
    /// down, the others where it is not built in (trampolines on aarch64 before 6.0: ENOTSUPP).
    fn of(error: &io::Error) -> Self {
        const ENOTSUPP: i32 = 524;
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES | libc::EOPNOTSUPP | libc::ENOSYS | libc::ENODEV | ENOTSUPP) => {
                Self::Kind
            }
            Some(_) | None => Self::Program,
        }
    }
}

fn io_error(error: &ProgramError) -> Option<&io::Error> {
    if let ProgramError::IOError(error) = error {
        return Some(error);
    }
    anyhow::Chain::new(error).find_map(|error| error.downcast_ref())
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in anyhow::Chain::new(error).map(ToString::to_string) {
        // Some errors repeat what they were caused by.
        if !parts.last().is_some_and(|last| last.contains(&part)) {
            parts.push(part);
        }
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::plan::Params;

    const PROGRAM: &Program =
        &Program { name: "fentry_x", attach: Attach::Entry("x"), params: Params::Exactly(1) };

    #[test]
    fn a_refusal_shows_the_end_of_the_log() {
        let log = (1..=30).map(|line| format!("line {line}\n\n")).collect::<String>();
        let refused = Refused { program: PROGRAM, why: "no".into(), log, extent: Extent::Program };
        let text = refused.to_string();
        assert!(text.starts_with("the kernel refused the program fentry_x (x()): no; the end of"), "{text}");
        assert!(text.ends_with("line 30") && text.contains("\n  line 19\n") && !text.contains("line 18"));
        let silent = Refused { program: PROGRAM, why: "no".into(), log: String::new(), extent: Extent::Kind };
        assert!(silent.to_string().ends_with("(x()): no"));
    }

    #[test]
    fn a_locked_kernel_is_told_from_a_function_that_cannot_be_probed() {
        let of = |code| {
            let io_error = io::Error::from_raw_os_error(code);
            let error = ProgramError::IOError(io_error);
            Refused::attaching(PROGRAM, &error).extent
        };
        assert_eq!([of(libc::EPERM), of(libc::EOPNOTSUPP), of(524)], [Extent::Kind; 3]);
        assert_eq!([of(libc::EINVAL), of(libc::ENOENT), of(libc::EBUSY)], [Extent::Program; 3]);
    }
}

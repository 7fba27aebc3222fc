//! What a run ends with: the exit codes that people and scripts rely on.

use std::{fmt, io, process::ExitCode};

use crate::stderr;

/// The command line asks for what cannot be: exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

/// This kernel, or these privileges, cannot do it: exit code 3. The text names what is missing, what that means
/// and the next step.
#[derive(Debug)]
pub struct Unable(pub String);

/// Somebody asked to stop before the run had begun: exit code 0, and nothing to tell.
#[derive(Debug)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped before the run began")
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Unable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Stopped {}
impl std::error::Error for Usage {}
impl std::error::Error for Unable {}

/// Tells the error on stderr, if it is one, and gives the exit code: 0 done, 1 failed, 2 wrong usage, 3 unable.
pub fn code(result: &anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    // Whoever read our output has seen enough.
    if error.chain().any(is_broken_pipe) {
        return ExitCode::SUCCESS;
    }
    if error.is::<Stopped>() {
        return ExitCode::SUCCESS;
    }
    stderr::line(format_args!("tw-trace: {error:#}"));
    if error.is::<Usage>() {
        ExitCode::from(2)
    } else if error.is::<Unable>() {
        ExitCode::from(3)
    } else {
        ExitCode::FAILURE
    }
}

fn is_broken_pipe(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

//! Runs commands: which cargo, in which environment, and how their output and failure are shown.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::pinned;

/// The checkout that this xtask was built from.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The cargo that runs this xtask, so that nothing is compiled twice by two compilers.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What we build and test has its kernel side.
    command.current_dir(root()).env_remove("AYA_BUILD_SKIP");
    command
}

/// A program of the dated nightly. What cargo set for this xtask, and flags meant for the host's compiler,
/// would lead the nightly astray.
pub(crate) fn nightly(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", pinned::TOOLCHAIN, program]).current_dir(root());
    for key in [
        "RUSTUP_TOOLCHAIN",
        "CARGO",
        "RUSTC",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
    ] {
        command.env_remove(key);
    }
    command
}

/// PATH with this folder before all others.
pub(crate) fn path_with(folder: &Path) -> Result<OsString> {
    let rest = env::var_os("PATH").unwrap_or_default();
    env::join_paths(std::iter::once(folder.to_path_buf()).chain(env::split_paths(&rest)))
        .with_context(|| format!("PATH cannot hold {}", folder.display()))
}

/// Runs a command with its output going where ours goes; failure is an error that names the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    command.stdin(Stdio::null());
    let status = command.status().with_context(|| format!("starting `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs a command and returns what it printed; on failure the error holds its stderr.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    command.stdin(Stdio::null());
    let output = command.output().with_context(|| format!("starting `{}`", shown(command)))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}\n{}", shown(command), output.status, why.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// The command as one would type it, without its environment.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(OsStr::new("?"));
    let words = std::iter::once(program).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// What a watched command lets us know.
pub(crate) enum Heard<'a> {
    /// A line of stdout or stderr, in the order of writing.
    Line(&'a str),
    /// Nothing for this long, though it still runs.
    Quiet,
}

const QUIET: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(500);

/// Runs a command and hands over each line that it prints, and each silence.
pub(crate) fn watch(mut command: Command, mut on: impl FnMut(Heard<'_>)) -> Result<ExitStatus> {
    let name = shown(&command);
    // One pipe for both streams keeps their lines in order.
    let (reader, writer) = std::io::pipe().context("making a pipe")?;
    command.stdin(Stdio::null()).stderr(writer.try_clone().context("doubling a pipe")?).stdout(writer);
    let mut child = command.spawn().with_context(|| format!("starting `{name}`"))?;
    // The command holds the pipe's writing end, which would keep the reader from ever seeing its end.
    drop(command);

    let (lines, heard) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    let mut last = Instant::now();
    let mut ended = None;
    loop {
        match heard.recv_timeout(LOOK) {
            Ok(line) => {
                last = Instant::now();
                on(Heard::Line(&line));
            }
            Err(RecvTimeoutError::Disconnected) => break,
            // Something that the command left behind may hold the pipe open for ever: its end is enough.
            Err(RecvTimeoutError::Timeout) if ended.is_some() => break,
            Err(RecvTimeoutError::Timeout) => {
                ended = child.try_wait().with_context(|| format!("waiting for `{name}`"))?;
                if last.elapsed() >= QUIET {
                    last = Instant::now();
                    on(Heard::Quiet);
                }
            }
        }
    }
    ended.map_or_else(|| child.wait().with_context(|| format!("waiting for `{name}`")), Ok)
}

/// A program on PATH, or in a folder of system programs that an ordinary user's PATH lacks.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let system = ["/usr/sbin", "/sbin"].map(|folder| Path::new(folder).join(name));
    pinned::on_path(name).or_else(|| system.into_iter().find(|file| file.is_file()))
}

/// A duration for people: `0.4 s`, `75 s`.
pub(crate) fn elapsed(since: Instant) -> String {
    let seconds = since.elapsed().as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}

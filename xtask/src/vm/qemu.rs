//! Boots a kernel under QEMU and listens to it until it is off.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::arch::Arch;
use super::initramfs::{INIT, INIT_ARGUMENT};
use super::port;
use crate::sh;

/// How the guest's clock goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// It counts instructions and jumps over idle time: TIME_WAIT passes in seconds, on one CPU.
    Warped,
    /// Real time, on two CPUs.
    Real,
}

/// A kernel to be booted.
#[derive(Clone, Debug)]
pub(super) struct Boot {
    pub(super) arch: Arch,
    pub(super) kernel: PathBuf,
    pub(super) initramfs: PathBuf,
    pub(super) clock: Clock,
    /// File for the kernel's own messages.
    pub(super) console: PathBuf,
    /// Folder for the kernel's BTF and symbols, if they are wanted.
    pub(super) extract: Option<PathBuf>,
}

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It switched itself off, or its kernel panicked.
    Off,
    /// It took too long.
    Killed,
}

const MEMORY: &str = "1G";

/// The warped clock moves on by 2 to the power of this, in ns, with each instruction.
const SHIFT: u32 = 1;
pub(crate) const NS_PER_INSTRUCTION: f64 = (1 << SHIFT) as f64;

impl Boot {
    /// Boots, asks, and hands over each line of the answer.
    pub(super) fn run(&self, ask: &Value, limit: Duration, mut on: impl FnMut(&str)) -> Result<End> {
        let mut command = self.command();
        let errors = self.console.with_extension("qemu");
        let stderr = File::create(&errors).with_context(|| format!("making {}", errors.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let name = sh::shown(&command);
        let mut qemu = Guard(command.spawn().with_context(|| format!("starting `{name}`"))?);
        let mut input = qemu.0.stdin.take().context("QEMU's input")?;
        // It stays open to the end: without a listener the port would be closed.
        writeln!(input, "{ask}").context("asking the guest")?;
        let output = qemu.0.stdout.take().context("QEMU's output")?;
        let (lines, heard) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
        let start = Instant::now();
        loop {
            match heard.recv_timeout(limit.saturating_sub(start.elapsed())) {
                Ok(line) => on(line.trim_end_matches('\r')),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => return Ok(End::Killed),
            }
        }
        let status = qemu.0.wait().with_context(|| format!("waiting for `{name}`"))?;
        ensure!(status.success(), "`{name}` failed: {status}\n{}", last_words(&errors, 5));
        Ok(End::Off)
    }

    /// Boots with a shell on our terminal.
    pub(super) fn shell(&self) -> Result<()> {
        println!("vm: {} boots; Ctrl-A X ends it the hard way", self.kernel.display());
        let mut command = self.machine("mon:stdio", &["--shell"]);
        let status = command.status().with_context(|| format!("starting `{}`", sh::shown(&command)))?;
        ensure!(status.success(), "`{}` failed: {status}", sh::shown(&command));
        Ok(())
    }

    /// The command that runs the scenarios; the port for lines is its input and output.
    pub(super) fn command(&self) -> Command {
        let mut command = self.machine(&format!("file:{}", self.console.display()), &[]);
        command.args(["-device", "virtio-serial-pci"]);
        add_port(&mut command, port::DATA, &format!("stdio,id={},signal=off", port::DATA));
        if let Some(folder) = &self.extract {
            for name in [port::BTF, port::KALLSYMS] {
                let file = folder.join(name);
                add_port(&mut command, name, &format!("file,id={name},path={}", file.display()));
            }
        }
        command
    }

    /// The machine, with its console there, and further arguments for the guest's first process.
    fn machine(&self, serial: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.arch.qemu().0);
        // SAFETY: between fork and exec this makes one system call and allocates nothing.
        unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        command.args(self.arch.machine());
        match self.clock {
            Clock::Warped => command.args(["-icount", &format!("shift={SHIFT},sleep=off"), "-smp", "1"]),
            Clock::Real => command.args(["-smp", "2"]),
        };
        command.args(["-m", MEMORY, "-display", "none", "-nodefaults", "-no-user-config", "-no-reboot"]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initramfs);
        let console = self.arch.console();
        let kernel = format!("console={console} panic=-1 oops=panic loglevel=5 rdinit={INIT}");
        command.args(["-append", &format!("{kernel} -- {INIT_ARGUMENT} {}", arguments.join(" "))]);
        command.args(["-serial", serial]);
        command
    }
}

fn add_port(command: &mut Command, name: &str, device: &str) {
    command.args(["-chardev", device, "-device", &format!("virtserialport,chardev={name},name={name}")]);
}

/// The end of the kernel's messages.
pub(super) fn last_words(console: &Path, lines: usize) -> String {
    let text =
        fs::read(console).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Whoever leaves early, no emulator goes on behind our back.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may be gone already, which is just as well.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What the kernel complained about: a bug of its own, or one that a program of ours set off.
pub(super) fn complaints(console: &Path) -> Vec<String> {
    let text =
        fs::read(console).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    text.lines().filter(|line| is_complaint(line)).map(|line| line.trim().to_owned()).collect()
}

fn is_complaint(line: &str) -> bool {
    ["WARNING: ", "BUG: ", "Oops: ", "Oops#", "Kernel panic"].iter().any(|sign| line.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_complains_is_heard() {
        assert!(is_complaint("[   3.1] WARNING: CPU: 0 PID: 1 at kernel/x.c:1"));
        assert!(is_complaint("[   3.1] BUG: kernel NULL pointer dereference"));
        assert!(!is_complaint("[   3.1] reboot: Power down"));
    }

    #[test]
    fn time_is_warped_on_one_cpu_only() {
        let mut boot = Boot {
            arch: Arch::Aarch64,
            kernel: PathBuf::from("/k"),
            initramfs: PathBuf::from("/i"),
            clock: Clock::Warped,
            console: PathBuf::from("/c"),
            extract: None,
        };
        let warped = sh::shown(&boot.command());
        assert!(warped.contains("-icount shift=1,sleep=off -smp 1") && warped.contains("console=ttyAMA0"));
        boot.clock = Clock::Real;
        let real = sh::shown(&boot.command());
        assert!(!real.contains("-icount") && real.contains("-smp 2"));
    }
}

//! What the running system tells beyond BTF and kallsyms: release, tick, capabilities, lockdown, tracing.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::sys::utsname::uname;

use super::tracefs;
use crate::kernel::capability::Capabilities;
use crate::kernel::sysfs;
use crate::kernel::tick::Tick;

/// Why something could not be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold(pub String);

impl fmt::Display for Untold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown: {}", self.0)
    }
}

pub type Told<T> = Result<T, Untold>;

/// uname(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    pub release: String,
    pub version: String,
    pub arch: String,
}

/// What the running system tells beyond BTF and kallsyms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    pub release: Release,
    pub tick: Told<Tick>,
    pub capabilities: Told<Capabilities>,
    /// `none`, `integrity` or `confidentiality`; the last forbids reading kernel memory.
    pub lockdown: Told<String>,
    /// Whether /sys is mounted.
    pub sysfs: bool,
    /// The perf event source through which kprobes are attached (CONFIG_KPROBE_EVENTS).
    pub kprobe_events: Told<bool>,
    /// Whether functions may be traced at all.
    pub function_tracing: Told<bool>,
    /// `kernel.init_private`, of some vendors' kernels: no tracing program runs while process 1 is on a CPU.
    pub init_private: bool,
}

impl System {
    pub fn read() -> Self {
        let sysfs = sysfs::is_mounted();
        Self {
            release: Release::read(),
            tick: Tick::read().map_err(|error| Untold(format!("clock_getres failed: {error}"))),
            capabilities: Capabilities::read().map_err(|error| Untold(error.to_string())),
            lockdown: lockdown(fs::read_to_string("/sys/kernel/security/lockdown")),
            sysfs,
            kprobe_events: if sysfs {
                Ok(Path::new("/sys/bus/event_source/devices/kprobe").exists())
            } else {
                Err(Untold("/sys is not mounted".to_owned()))
            },
            function_tracing: function_tracing(
                ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
                    .map(|dir| File::open(Path::new(dir).join("available_filter_functions")).map(drop))
                    .into_iter()
                    .chain(std::iter::once_with(tracefs::filter_functions)),
            ),
            init_private: fs::read_to_string("/proc/sys/kernel/init_private")
                .is_ok_and(|is| is.trim() == "1"),
        }
    }
}

impl Release {
    fn read() -> Self {
        let text = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
        match uname() {
            Ok(names) => Self {
                release: text(names.release()),
                version: text(names.version()),
                arch: text(names.machine()),
            },
            Err(_) => Self { release: "?".into(), version: "?".into(), arch: std::env::consts::ARCH.into() },
        }
    }
}

/// The word in brackets of `none [integrity] confidentiality`.
fn lockdown(file: io::Result<String>) -> Told<String> {
    match file {
        Ok(text) => text
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'))
            .map(|(level, _)| level.to_owned())
            .ok_or_else(|| Untold("/sys/kernel/security/lockdown is not in the form known".into())),
        Err(error) => Err(Untold(format!("/sys/kernel/security/lockdown: {error}"))),
    }
}

/// What opening `available_filter_functions` says. EPERM, to a process that may enter tracefs, is a kernel
/// that refuses function tracing (*seen* on 6.18: fentry then fails with EPERM too); EACCES is tracefs
/// itself, for root only by default.
fn function_tracing(opened: impl IntoIterator<Item = io::Result<()>>) -> Told<bool> {
    let mut reason = "tracefs is not mounted, or the kernel has no function tracer".to_owned();
    for result in opened {
        match result {
            Ok(()) => return Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => reason = format!("tracefs: {error} (root may read it)"),
        }
    }
    Err(Untold(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lockdown_levels_are_read() {
        assert_eq!(lockdown(Ok("none [integrity] confidentiality\n".into())), Ok("integrity".into()));
        assert!(lockdown(Ok("nonsense".into())).is_err());
        assert!(lockdown(Err(io::ErrorKind::NotFound.into())).is_err());
    }

    #[test]
    fn function_tracing_tells_refused_from_forbidden() {
        let error = |code| Err(io::Error::from_raw_os_error(code));
        assert_eq!(function_tracing([Ok(()), error(libc::ENOENT)]), Ok(true));
        assert_eq!(function_tracing([error(libc::EPERM), error(libc::ENOENT)]), Ok(false));
        assert!(function_tracing([error(libc::EACCES), error(libc::EACCES)]).unwrap_err().0.contains("root"));
        let nothing = [error(libc::ENOENT), error(libc::ENOENT)];
        assert!(function_tracing(nothing).unwrap_err().0.contains("not mounted"));
    }
}

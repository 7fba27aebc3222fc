//! The options of every command that attaches.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::duration;
use crate::kernel::plan::Backend;

#[derive(Debug, Args)]
pub struct AttachArgs {
    /// Stop after this long, like 30s or 5min [default: until Ctrl-C]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// How to reach the kernel; auto takes the first that works here
    #[arg(long, value_name = "BACKEND", default_value = "auto")]
    pub backend: BackendChoice,
    /// Read the kernel's types from FILE (BTF, or a vmlinux) instead of /sys/kernel/btf/vmlinux
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    Auto,
    Fentry,
    Kprobe,
    Tracepoint,
}

impl BackendChoice {
    /// The backend that was forced, if one was.
    pub const fn forced(self) -> Option<Backend> {
        match self {
            Self::Auto => None,
            Self::Fentry => Some(Backend::Fentry),
            Self::Kprobe => Some(Backend::Kprobe),
            Self::Tracepoint => Some(Backend::Tracepoint),
        }
    }
}

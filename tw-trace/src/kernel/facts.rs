//! What this kernel has, as plain data; nothing is attached to find out, and no privilege is needed.
//!
//! What cannot be told is an [`Untold`] with its reason, never a guess.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use super::btf::Btf;
use super::function_name::Found;
use super::kallsyms::{KallsymsError, Symbols};
use super::names;
use super::offsets::{MissingField, Resolved, resolve_offsets};
use super::sysfs;

mod requirements;
mod system;
#[cfg(test)]
pub(crate) mod tests;
mod tracefs;

pub use super::names::{FTRACE_DIRECT, FUNCTIONS, TRACE_EVENTS};
pub use system::{Release, System, Told, Untold};

pub const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// One function of [`FUNCTIONS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its parameters by BTF; `None` when BTF does not have it.
    pub params: Told<Option<u32>>,
    /// Its name in kallsyms: what a kprobe is attached by.
    pub symbol: Told<Found<String>>,
    /// Its name in BTF, where BTF has it: what a trampoline is attached by.
    pub type_name: String,
}

/// What BTF tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BtfFacts {
    pub offsets: Result<Resolved, MissingField>,
    /// By event: what a BTF program gets as arguments; `None` when the kernel has no such event.
    pub trace_events: BTreeMap<&'static str, Option<u32>>,
    pub functions: BTreeMap<&'static str, Option<u32>>,
    /// Functions whose names the compiler made unique, by their names in BTF, with their parameters.
    pub renamed: BTreeMap<String, u32>,
    /// BPF_MAP_TYPE_RINGBUF (5.8).
    pub ring_buffer: bool,
    /// The `iter/tcp` BPF iterator (5.9).
    pub iter_tcp: bool,
    /// `inet_timewait_sock.tw_kill`: the kernel counts TcpExt TW when the timer fires, not when it is armed.
    pub tw_kill: bool,
    /// BPF trampolines can hang on ftrace (`register_ftrace_direct`; x86-64 5.5, aarch64 6.4).
    pub ftrace_direct: bool,
    /// CONFIG_KPROBES.
    pub kprobes: bool,
    /// Tracing programs may ask for a socket's cookie (5.12).
    pub cookies: bool,
}

impl BtfFacts {
    /// What these bytes tell, if there are any.
    pub fn told(bytes: Result<&[u8], &Untold>) -> Told<Self> {
        match bytes.map(Btf::parse) {
            Ok(Ok(btf)) => Ok(Self::read(&btf)),
            Ok(Err(error)) => Err(Untold(error.to_string())),
            Err(untold) => Err(untold.clone()),
        }
    }

    pub fn read(btf: &Btf<'_>) -> Self {
        Self {
            offsets: resolve_offsets(btf),
            trace_events: TRACE_EVENTS.iter().map(|name| (*name, btf.trace_event_params(name))).collect(),
            functions: FUNCTIONS.iter().map(|name| (*name, btf.function_params(name))).collect(),
            renamed: FUNCTIONS
                .iter()
                .flat_map(|name| btf.renamed(name).map(|(full, params)| (full.to_owned(), params)))
                .collect(),
            ring_buffer: btf.type_size(names::RING_BUFFER).is_some(),
            iter_tcp: btf.has_function(names::ITER_TCP),
            tw_kill: btf.has_member(names::TW_KILL.0, names::TW_KILL.1),
            ftrace_direct: FTRACE_DIRECT.iter().any(|name| btf.has_function(name)),
            kprobes: btf.has_function(names::KPROBES),
            cookies: btf.has_function(names::COOKIES),
        }
    }
}

/// Everything that the choice of a backend is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub system: System,
    pub btf: Told<BtfFacts>,
    /// By name: what kallsyms has of it.
    pub symbols: Told<BTreeMap<&'static str, Found<String>>>,
    /// Whether kallsyms tells addresses to this process.
    pub addresses: Told<bool>,
    /// What the kernel turned down when it was tried.
    pub refused: Refused,
}

/// What the kernel turned down when it was tried, with its answer: only then is it known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// By name of the program.
    pub programs: BTreeMap<&'static str, String>,
    /// By name of the backend: the kernel attaches no program of this kind.
    pub backends: BTreeMap<&'static str, String>,
}

impl Facts {
    /// From stored or otherwise known inputs. A function that was not looked for in `symbols` counts as absent.
    pub fn from_parts(system: System, btf: Told<BtfFacts>, symbols: &Result<Symbols, KallsymsError>) -> Self {
        let found = |symbols: &Symbols| {
            let names = FUNCTIONS.iter().chain(FTRACE_DIRECT);
            names.map(|name| (*name, symbols.function(name).map(|symbol| symbol.name.clone()))).collect()
        };
        let (symbols, addresses) = match symbols {
            Ok(symbols) => (Ok(found(symbols)), Ok(true)),
            Err(KallsymsError::Restricted { names }) => (Ok(found(names)), Ok(false)),
            Err(error @ KallsymsError::Read(_)) => {
                (Err(Untold(error.to_string())), Err(Untold(error.to_string())))
            }
        };
        Self { system, btf, symbols, addresses, refused: Refused::default() }
    }

    /// Whether kallsyms has any of these.
    fn symbol_of_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| !matches!(self.symbol(name), Ok(Found::Absent) | Err(_)))
    }

    fn symbol(&self, name: &str) -> Told<Found<String>> {
        match &self.symbols {
            Ok(symbols) => Ok(symbols.get(name).cloned().unwrap_or(Found::Absent)),
            Err(untold) => Err(untold.clone()),
        }
    }

    /// BTF and kallsyms on one function.
    ///
    /// pahole gives a function its name in the source, or the symbol's where the compiler made that unique. A kernel
    /// that does not find the former (from 6.11 `kallsyms_lookup_name` is exact) refuses the program.
    pub fn function(&self, name: &str) -> Function {
        let symbol = self.symbol(name);
        let renamed = match (&symbol, &self.btf) {
            (Ok(Found::One(full)), Ok(btf)) => btf.renamed.get_key_value(full),
            (Ok(_) | Err(_), Ok(_) | Err(_)) => None,
        };
        let (type_name, params) = match (renamed, &self.btf) {
            (Some((full, params)), _) => (full.clone(), Ok(Some(*params))),
            (None, Ok(btf)) => (name.to_owned(), Ok(btf.functions.get(name).copied().flatten())),
            (None, Err(untold)) => (name.to_owned(), Err(untold.clone())),
        };
        Function { params, symbol, type_name }
    }
}

/// The bytes of the kernel's own BTF, which is what the kernel says it is.
pub fn own_btf() -> Told<Vec<u8>> {
    fs::read(VMLINUX_BTF).map_err(|error| {
        let why = if !sysfs::is_mounted() {
            "/sys is not mounted here".to_owned()
        } else if error.kind() == io::ErrorKind::NotFound {
            format!(
                "{error}; the kernel is built without CONFIG_DEBUG_INFO_BTF, and programs are attached by its own types, so \
                 another kernel is needed (if the file is only hidden here, give a copy with --btf FILE)"
            )
        } else {
            error.to_string()
        };
        Untold(format!("{VMLINUX_BTF} cannot be read: {why}"))
    })
}

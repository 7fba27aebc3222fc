//! Cuts the types and symbols of a kernel down to what tw-trace looks for: some KB that the tests of offsets, facts
//! and plan can be held against without that kernel and without privileges.

mod btf;
mod kallsyms;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use tw_trace_common::fields::FIELDS;

#[expect(unreachable_pub, reason = "tw-trace's own library shows it")]
#[path = "../../tw-trace/src/kernel/names.rs"]
mod names;

#[derive(Args)]
pub(crate) struct KernelDataArgs {
    /// Folders named LINE-ARCH, each with a kernel's `btf` (its /sys/kernel/btf/vmlinux) and `kallsyms`
    #[arg(required = true)]
    kernels: Vec<PathBuf>,
    /// Where the tests read them
    #[arg(long, default_value = "tw-trace/tests/kernels")]
    to: PathBuf,
}

pub(crate) fn run(args: &KernelDataArgs) -> Result<()> {
    for kernel in &args.kernels {
        let name = kernel.file_name().context("the folder has no name")?;
        let to = args.to.join(name);
        cut(kernel, &to).with_context(|| format!("cutting {}", kernel.display()))?;
    }
    Ok(())
}

fn cut(from: &Path, to: &Path) -> Result<()> {
    let (types, symbols) = (fs::read(from.join("btf"))?, fs::read_to_string(from.join("kallsyms"))?);
    let wanted = wanted();
    let types = btf::Btf::parse(&types)?.cut(&wanted)?;
    let symbols = kallsyms::cut(&symbols, &functions());
    fs::create_dir_all(to)?;
    fs::write(to.join("btf"), &types)?;
    fs::write(to.join("kallsyms"), &symbols)?;
    println!("{}: {} bytes of BTF, {} of kallsyms", to.display(), types.len(), symbols.len());
    Ok(())
}

/// What is kept of the types.
struct Wanted {
    /// By struct, the paths of members.
    fields: BTreeMap<&'static str, Vec<&'static str>>,
    functions: Vec<&'static str>,
    trace_events: &'static [&'static str],
}

fn wanted() -> Wanted {
    let mut fields: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for field in FIELDS {
        fields.entry(field.of).or_default().push(field.path);
    }
    fields.entry(names::TW_KILL.0).or_default().push(names::TW_KILL.1);
    fields.entry(names::RING_BUFFER).or_default();
    let mut functions = functions();
    functions.extend([names::KPROBES, names::ITER_TCP, names::COOKIES]);
    Wanted { fields, functions, trace_events: names::TRACE_EVENTS }
}

/// Functions that are looked for in kallsyms.
fn functions() -> Vec<&'static str> {
    let mut all = [names::FUNCTIONS, names::FTRACE_DIRECT, &[names::TIMER_HANDLER]].concat();
    all.extend(names::frames::ALL.iter().copied().flatten());
    all.sort_unstable();
    all.dedup();
    all
}

//! `cargo xtask vm`: boots real kernels under QEMU, runs the scenarios inside, and shows what each came to.

mod apt;
mod arch;
mod cache;
mod checks;
mod cpio;
mod docs;
mod guest;
mod initramfs;
mod kernels;
mod matrix;
mod measure;
mod modules;
mod port;
mod progress;
mod qemu;
mod run;
mod sources;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use clap::Args;
use xtask::backend::Backend;

use crate::{build, oracle, setup, sh};
use arch::Arch;
use cache::Folder;
use initramfs::Programs;
use kernels::{Freshness, Kernel, Line};
use port::Oracle;
use qemu::{Boot, Clock};
use run::{Guest, Orders, Report, Work};

pub(crate) use guest::{GuestArgs, run as run_guest};
pub(crate) use matrix::{Matrix, run as matrix};
pub(crate) use measure::Prepared;
pub(crate) use qemu::NS_PER_INSTRUCTION;

#[derive(Args, Default)]
pub(crate) struct VmArgs {
    /// Kernel lines: 5.10, 6.1, 6.12, 6.18, 7 [default: 6.12]
    #[arg(value_name = "KERNEL", value_parser = kernels::find)]
    kernels: Vec<&'static Line>,
    /// Every kernel line: on x86_64 all of them, on aarch64 6.12 and 7
    #[arg(long, conflicts_with = "kernels")]
    all: bool,
    /// Architecture of the guests [default: x86_64; with --all both]
    #[arg(long)]
    arch: Vec<Arch>,
    /// tw-trace's backend [default: each]
    #[arg(long)]
    backend: Vec<Backend>,
    /// Boot this kernel instead: a vmlinuz of your own
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kernels", "all"])]
    kernel: Option<PathBuf>,
    /// Folder of that kernel's modules, such as /lib/modules/RELEASE
    #[arg(long, value_name = "FOLDER", requires = "kernel")]
    modules: Option<PathBuf>,
    /// Two CPUs in real time, instead of one whose clock jumps over idle time
    #[arg(long)]
    smp: bool,
    /// Run the checks instead of the scenarios: two CPUs in real time, all backends in one guest
    #[arg(long, conflicts_with_all = ["backend", "extract", "write_docs", "shell"])]
    checks: bool,
    /// Run only this scenario, or with --checks this check
    #[arg(long, value_name = "SCENARIO")]
    only: Vec<String>,
    /// Guests at a time [default: one for each CPU]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Give a guest this long
    #[arg(long, value_name = "MINUTES", default_value_t = 30)]
    limit: u64,
    /// Look for newer kernels than the cached ones
    #[arg(long)]
    refresh: bool,
    /// Keep the guests' first roots and console logs, and say where
    #[arg(long)]
    keep: bool,
    /// Write the results to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the support table into docs/kernels.md
    #[arg(long)]
    write_docs: bool,
    /// Store each kernel's BTF and symbols below this folder
    #[arg(long, value_name = "FOLDER")]
    extract: Option<PathBuf>,
    /// Boot one kernel into a shell instead
    #[arg(long, conflicts_with_all = ["all", "only", "backend", "json", "write_docs", "extract"])]
    shell: bool,
}

pub(crate) fn run(args: &VmArgs) -> Result<ExitCode> {
    let start = Instant::now();
    let chosen = args.chosen();
    for arch in Arch::ALL.into_iter().filter(|arch| chosen.iter().any(|(_, has)| has == arch)) {
        setup::for_vm(arch.qemu())?;
    }
    let kernels = args.fetch(&chosen)?;
    let folder = if args.keep { Folder::kept()? } else { Folder::temporary()? };
    let boots = args.boots(&kernels, &folder.path)?;
    if args.shell {
        let (_, boot) = boots.first().context("no kernel was chosen")?;
        return boot.shell().map(|()| ExitCode::SUCCESS);
    }
    let guests = args.guests(boots)?;
    let usual = if args.checks { checks::at_a_time() } else { run::cpus() };
    let at_a_time = args.jobs.map_or(usual, usize::from);
    let orders = Orders { only: &args.only, limit: Duration::from_secs(60 * args.limit), at_a_time };
    let reports = run::all(&guests, &orders);
    let code = args.conclude(&reports, start)?;
    if args.keep {
        for guest in &guests {
            println!("kept: {}", sh::shown(&guest.boot.command()));
        }
    }
    Ok(code)
}

impl VmArgs {
    /// The kernels that were asked for; none by name is one's own.
    fn chosen(&self) -> Vec<(Option<&'static Line>, Arch)> {
        let default: &[Arch] = if self.all { &Arch::ALL } else { &[Arch::X86_64] };
        let archs = if self.arch.is_empty() { default } else { &self.arch };
        let mut chosen = Vec::new();
        for &arch in archs {
            if self.kernel.is_some() {
                chosen.push((None, arch));
            } else if self.all {
                let lines = kernels::LINES.iter().filter(|line| line.in_matrix(arch));
                chosen.extend(lines.map(|line| (Some(line), arch)));
            } else if self.kernels.is_empty() {
                chosen.extend(kernels::find("6.12").ok().map(|line| (Some(line), arch)));
            } else {
                chosen.extend(self.kernels.iter().map(|line| (Some(*line), arch)));
            }
        }
        chosen
    }

    fn fetch(&self, chosen: &[(Option<&'static Line>, Arch)]) -> Result<Vec<Kernel>> {
        let freshness = if self.refresh { Freshness::Newest } else { Freshness::Cached };
        let kernels = chosen.iter().map(|(line, arch)| match (line, &self.kernel) {
            (Some(line), _) => kernels::ensure(line, *arch, freshness),
            (None, file) => {
                let file = file.as_deref().context("no kernel was chosen")?;
                kernels::own(file, self.modules.as_deref(), *arch)
            }
        });
        kernels.collect()
    }

    /// Builds what the guests run, and writes what they boot into.
    fn boots(&self, kernels: &[Kernel], folder: &Path) -> Result<Vec<(String, Boot)>> {
        let mut boots = Vec::new();
        for arch in Arch::ALL {
            let of_arch: Vec<&Kernel> = kernels.iter().filter(|kernel| kernel.arch == arch).collect();
            if of_arch.is_empty() {
                continue;
            }
            let programs = programs(arch, self.kernel.is_none())?;
            for kernel in of_arch {
                let initramfs = run::file(folder, &kernel.line, arch, "initramfs");
                initramfs::write(kernel, &programs, &initramfs)?;
                let clock = if self.smp || self.shell { Clock::Real } else { Clock::Warped };
                let image = kernel.image.clone();
                let console = run::file(folder, &kernel.line, arch, "console");
                boots.push((
                    kernel.line.clone(),
                    Boot { arch, kernel: image, initramfs, clock, console, extract: None },
                ));
            }
        }
        Ok(boots)
    }

    /// One guest for each kernel and backend: what one of them breaks does not harm the next.
    fn guests(&self, boots: Vec<(String, Boot)>) -> Result<Vec<Guest>> {
        if self.checks {
            return Ok(checks::guests(boots));
        }
        let mut backends = if self.backend.is_empty() { Backend::ALL.to_vec() } else { self.backend.clone() };
        backends.sort();
        backends.dedup();
        let is_oracle = |name: &String| name == oracle::SCENARIO;
        let first = if self.only.is_empty() || self.only.iter().any(is_oracle) {
            Oracle::Here
        } else {
            Oracle::Elsewhere
        };
        if !self.only.is_empty() && self.only.iter().all(is_oracle) {
            // No backend has a part in it.
            backends.truncate(1);
        }
        let mut guests = Vec::new();
        for (line, mut boot) in boots {
            if let Some(parent) = &self.extract {
                let folder = parent.join(format!("{line}-{}", boot.arch.name()));
                fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
                boot.extract = Some(folder);
            }
            let mut oracle = first;
            for &backend in &backends {
                let mut own = boot.clone();
                own.console.as_mut_os_string().push(format!("-{}", backend.name()));
                guests.push(Guest { line: line.clone(), backend, oracle, work: Work::Scenarios, boot: own });
                // Once for each kernel is enough.
                boot.extract = None;
                oracle = Oracle::Elsewhere;
            }
        }
        Ok(guests)
    }

    fn conclude(&self, reports: &[Report], start: Instant) -> Result<ExitCode> {
        println!("\n{}", table::text(reports));
        let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let date = date.split('T').next().unwrap_or_default();
        let version = version();
        if let Some(file) = &self.json {
            let text = format!("{:#}\n", table::json(reports, date, &version));
            fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
        }
        if self.write_docs {
            let page = sh::root().join("docs/kernels.md");
            docs::write(&page, reports, date, &version)?;
            println!("written: {}", page.display());
        }
        let failed = reports.iter().filter(|report| report.failed()).count();
        println!("guests: {}, with failures: {failed}, time: {}", reports.len(), sh::elapsed(start));
        Ok(if failed == 0 && !reports.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Builds our own programs, and has busybox where Debian can be asked for it.
fn programs(arch: Arch, with_debian: bool) -> Result<Programs> {
    setup::for_build(Some(arch.target()))?;
    let tw_trace = build::static_program("tw-trace", arch.target())?;
    let xtask = build::static_program("xtask", arch.target())?;
    let lab = build::lab(arch.name())?;
    let busybox = with_debian.then(|| initramfs::busybox(arch)).transpose()?;
    Ok(Programs { tw_trace, xtask, lab, busybox })
}

/// The commit that is tested.
fn version() -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(sh::root());
    sh::output(&mut git).unwrap_or_else(|_| "an unknown version".to_owned())
}

//! What a guest boots into: our two programs, the lab's, busybox for a person who looks around, and kernel modules.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::arch::Arch;
use super::cpio::Cpio;
use super::kernels::Kernel;
use super::modules::{self, WantedBy};

/// Programs of the guest's architecture, all of them static.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) tw_trace: PathBuf,
    pub(super) xtask: PathBuf,
    /// An eBPF object.
    pub(super) lab: PathBuf,
    pub(super) busybox: Option<PathBuf>,
}

/// The program that the kernel starts, and what it is told.
pub(super) const INIT: &str = "/bin/xtask";
pub(super) const INIT_ARGUMENT: &str = "vm-guest";

pub(super) const TW_TRACE: &str = "/bin/tw-trace";
pub(super) const LAB: &str = "/lib/lab";
pub(super) const SHELL: &str = "/bin/sh";

/// Modules stand here, named by the order in which they are to be loaded.
pub(super) const MODULES: &str = "/modules";
/// The same of those that only the checks use.
pub(super) const MODULES_OF_CHECKS: &str = "/modules-of-checks";

const FOLDERS: &[&str] =
    &["bin", "lib", "dev", "proc", "sys", "tmp", "run", "root", "etc", "modules", "modules-of-checks"];

/// Writes the guest's first root to `file`.
pub(super) fn write(kernel: &Kernel, programs: &Programs, file: &Path) -> Result<()> {
    let mut cpio = Cpio::default();
    for folder in FOLDERS {
        cpio.folder(folder);
    }
    // Programs start with these open, or do not start.
    cpio.device("dev/console", 5, 1);
    cpio.device("dev/null", 1, 3);
    for (path, program) in [(INIT, &programs.xtask), (TW_TRACE, &programs.tw_trace)] {
        cpio.file(inside(path), &read(program)?);
    }
    cpio.file(inside(LAB), &read(&programs.lab)?);
    if let Some(busybox) = &programs.busybox {
        cpio.file("bin/busybox", &read(busybox)?);
        cpio.link(inside(SHELL), "busybox");
    }
    let modules = kernel.modules.as_deref().map(modules::load).transpose()?.unwrap_or_default();
    for (place, module) in modules.iter().enumerate() {
        let folder = match module.wanted_by {
            WantedBy::All => MODULES,
            WantedBy::Checks => MODULES_OF_CHECKS,
        };
        cpio.file(&format!("{}/{place:02}-{}.ko", inside(folder), module.name), &module.content);
    }
    fs::write(file, cpio.finish()).with_context(|| format!("writing {}", file.display()))
}

/// Names in the archive have no slash in front.
fn inside(path: &str) -> &str {
    path.trim_start_matches('/')
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("reading {}", file.display()))
}

/// Debian's static busybox for this architecture, in the cache.
pub(super) fn busybox(arch: Arch) -> Result<PathBuf> {
    use super::{apt::Apt, cache};
    let folder = cache::kernels()?.join(format!("busybox-{}", arch.name()));
    let find = || {
        let places = ["bin/busybox", "usr/bin/busybox"].map(|place| folder.join(place));
        places.into_iter().find(|file| file.is_file())
    };
    if find().is_none() {
        println!("vm: getting busybox-static for {}", arch.name());
        Apt::open_own(arch)?.unpack(&["busybox-static".to_owned()], &folder, "package")?;
    }
    find().context("Debian's busybox-static has no busybox")
}

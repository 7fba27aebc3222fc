//! Compiles the kernel side into `OUT_DIR/tw-trace-ebpf`, from where the program includes it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain};
use object::{
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
};

#[path = "../xtask/src/pinned.rs"]
mod pinned;

const KERNEL_SIDE: &str = "tw-trace-ebpf";

fn main() -> ExitCode {
    let Err(error) = run() else { return ExitCode::SUCCESS };
    // cargo shows these as errors; a returned one it would bury, with a backtrace, under all that was printed.
    for cause in error.chain() {
        for line in cause.to_string().lines() {
            println!("cargo::error={line}");
        }
    }
    ExitCode::FAILURE
}

fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace root")?;
    for file in ["Cargo.toml", "xtask/src/pinned.rs", "tw-trace/build.rs"] {
        println!("cargo::rerun-if-changed={}", root.join(file).display());
    }
    if env::var_os("AYA_BUILD_SKIP").is_some_and(|value| value == "1" || value == "true") {
        return skip();
    }
    let linker = check_tools()?;
    println!("cargo::rerun-if-changed={}", linker.display());
    set_environment(&linker)?;

    let sources = root.join(KERNEL_SIDE);
    let package = Package {
        name: KERNEL_SIDE,
        root_dir: sources.to_str().context("the path of the sources is not UTF-8")?,
        features: if env::var_os("CARGO_FEATURE_DEBUG_LOG").is_some() { &["debug-log"] } else { &[] },
        ..Default::default()
    };
    aya_build::build_ebpf([package], Toolchain::Custom(pinned::TOOLCHAIN)).context(
        "the kernel side (tw-trace-ebpf) was not built; where its source is not to blame, \
         `cargo xtask setup` checks the tools that build it",
    )?;
    strip(&object()?)
}

/// Where the program includes it from.
fn object() -> Result<PathBuf> {
    Ok(PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR")?).join(KERNEL_SIDE))
}

/// Takes the DWARF out, three quarters of the file: the linker makes BTF of it and leaves it there. What is included
/// is read by every run, and stays in its memory.
fn strip(object: &Path) -> Result<()> {
    let whole = fs::read(object).with_context(|| format!("reading {}", object.display()))?;
    let mut builder = Builder::read(&*whole).context("the kernel side's object file")?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    // LLVM keeps the names of sections among those of symbols, this builder does not.
    let names = builder.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped).context("the kernel side's object file without DWARF")?;
    fs::write(object, stripped).with_context(|| format!("writing {}", object.display()))
}

/// For documentation and lints on a machine without the tools. A release is never without its kernel side.
fn skip() -> Result<()> {
    println!("cargo::rerun-if-env-changed=AYA_BUILD_SKIP");
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        bail!("AYA_BUILD_SKIP is set: a release build without its kernel side could trace nothing; unset it");
    }
    println!("cargo::warning=AYA_BUILD_SKIP is set: this build has no kernel side and can trace nothing");
    let object = object()?;
    fs::write(&object, []).with_context(|| format!("writing {}", object.display()))
}

/// Finds out early, and in words, what would otherwise fail deep in a nested build.
fn check_tools() -> Result<PathBuf> {
    let mut command = match pinned::on_path("rustup") {
        Some(rustup) => {
            let mut command = Command::new(rustup);
            command.args(["run", pinned::TOOLCHAIN, "rustc"]);
            command
        }
        // aya-build then takes the compiler of PATH too: a distribution's, with RUSTC_BOOTSTRAP=1.
        None => Command::new("rustc"),
    };
    let answer = command.args(["--print", "sysroot"]).output().context("asking rustc for its sysroot")?;
    if !answer.status.success() {
        bail!("the Rust toolchain {} is missing: run `cargo xtask setup`", pinned::TOOLCHAIN);
    }
    let sysroot = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
    if !pinned::has_core_source(&sysroot) {
        bail!("the Rust toolchain in {} has no rust-src: run `cargo xtask setup`", sysroot.display());
    }
    pinned::linker().with_context(|| format!("{} is missing: run `cargo xtask setup`", pinned::LINKER))
}

/// What the nested build inherits: the linker's folder in PATH, and silence where there is nothing to say
/// (each of its lines would come out as a warning).
fn set_environment(linker: &Path) -> Result<()> {
    let folder = linker.parent().context("the linker's folder")?.to_path_buf();
    let rest = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(std::iter::once(folder).chain(env::split_paths(&rest)))
        .context("PATH cannot hold the linker's folder")?;
    // SAFETY: a build script has this one thread, and no other reads the environment meanwhile.
    unsafe {
        env::set_var("PATH", path);
        env::set_var("CARGO_TERM_QUIET", "true");
    }
    Ok(())
}

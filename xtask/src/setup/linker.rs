//! A bpf-linker that works with the dated nightly: found, or built against that nightly's own LLVM.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, Result, bail, ensure};

use super::{Done, announce, private_root};
use crate::pinned::{self, LINKER, TOOLCHAIN};
use crate::sh;

/// The release that reads the bitcode of [`TOOLCHAIN`], and its feature for that LLVM.
const VERSION: &str = "0.13.0";
const LLVM_FEATURE: &str = "llvm-22";

/// A program of one function, without `core` so that compiling it takes no time.
const PROBE: &str = r#"
#![feature(no_core, lang_items)]
#![no_core]
#![no_main]
#[lang = "pointee_sized"]
trait PointeeSized {}
#[lang = "meta_sized"]
trait MetaSized: PointeeSized {}
#[lang = "sized"]
trait Sized: MetaSized {}
#[unsafe(no_mangle)]
#[unsafe(link_section = "socket")]
extern "C" fn probe() -> i64 { 7 }
"#;

/// A linker that links; its word is not taken for it.
pub(super) fn ensure(sysroot: &Path) -> Result<Done<()>> {
    let root = private_root()?;
    let built = root.join("bin").join(LINKER);
    match pinned::linker().map(|linker| (works(&linker, &root, sysroot), linker)) {
        Some((Ok(()), linker)) => return Ok(Done::new(format!("{}, works", linker.display()), ())),
        Some((Err(why), linker)) => {
            announce(&format!(
                "{} does not link what {TOOLCHAIN} compiles ({}); it is left alone, the build takes one of our own",
                linker.display(),
                reason(&why)
            ));
        }
        None => {}
    }
    build(&root, sysroot).with_context(|| {
        format!(
            "{LINKER} {VERSION} was not built, and without it the kernel side cannot be linked.\n\
             By hand: put a {LINKER} on PATH that was built for the LLVM of {TOOLCHAIN} (see its README)"
        )
    })?;
    works(&built, &root, sysroot).with_context(|| {
        format!("{} was built but does not link; remove {}", built.display(), root.display())
    })?;
    Ok(Done::new(format!("{}, built", built.display()), ()))
}

/// The line of a failed link that tells most: rustc quotes what the linker said as its last note.
fn reason(why: &Error) -> String {
    let text = why.root_cause().to_string();
    let note = text.lines().rev().find_map(|line| line.trim_start().strip_prefix("= note: "));
    note.unwrap_or_else(|| text.lines().next().unwrap_or_default()).trim().to_owned()
}

/// Links a real program once; after that a note of the very file that did is enough.
fn works(linker: &Path, root: &Path, sysroot: &Path) -> Result<()> {
    let note = root.join("linker-works");
    let stamp = stamp(linker, sysroot)?;
    if fs::read_to_string(&note).is_ok_and(|known| known == stamp) {
        return Ok(());
    }
    link_probe(linker, &root.join("probe"))?;
    fs::write(&note, stamp).with_context(|| format!("writing {}", note.display()))
}

fn stamp(linker: &Path, sysroot: &Path) -> Result<String> {
    let meta = fs::metadata(linker).with_context(|| format!("looking at {}", linker.display()))?;
    let (size, time) = (meta.len(), meta.mtime());
    Ok(format!("{}\n{size} {time}\n{}\n", linker.display(), sysroot.display()))
}

/// Compiles and links [`PROBE`] as the kernel side is, and looks whether BPF with BTF came out.
fn link_probe(linker: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let (source, object) = (folder.join("probe.rs"), folder.join("probe.o"));
    fs::write(&source, PROBE).with_context(|| format!("writing {}", source.display()))?;
    // A failed run must not find the object of an earlier one.
    drop(fs::remove_file(&object));

    let mut rustc = sh::nightly("rustc");
    rustc.args(["--edition", "2024", "--crate-type", "bin", "--target", "bpfel-unknown-none"]);
    rustc.args(["-A", "internal_features", "-C", "panic=abort", "-C", "opt-level=3", "-C", "debuginfo=2"]);
    rustc.args(["-C", "link-arg=--btf", "-C", &format!("linker={}", linker.display()), "-o"]);
    sh::output(rustc.arg(&object).arg(&source))?;

    let bytes = fs::read(&object).with_context(|| format!("reading {}", object.display()))?;
    // e_machine of the ELF header: EM_BPF.
    ensure!(bytes.get(18..20) == Some(&[247, 0]), "what it made is not a BPF object");
    ensure!(bytes.windows(5).any(|window| window == b".BTF\0"), "what it made has no BTF");
    Ok(())
}

/// Builds the linker into our own folder, against the LLVM library that the nightly ships.
fn build(root: &Path, sysroot: &Path) -> Result<()> {
    announce(&format!("building {LINKER} {VERSION} into {} (one to three minutes)", root.display()));
    let lib = sysroot.join("lib");
    let prefix = root.join("llvm");
    link_llvm(&find_llvm(&lib)?, &prefix.join("lib"))?;

    let mut install = sh::cargo();
    install.args(["install", LINKER, "--version", VERSION, "--locked", "--force"]);
    install.args(["--no-default-features", "--features", LLVM_FEATURE, "--root"]).arg(root);
    install.env("LLVM_PREFIX", prefix);
    // cargo would warn that its user cannot find it; the build can.
    install.env("PATH", sh::path_with(&root.join("bin"))?);
    // Found at run time too, without LD_LIBRARY_PATH.
    install.env("RUSTFLAGS", format!("-C link-arg=-Wl,-rpath,{}", lib.display()));
    for key in ["CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET"] {
        install.env_remove(key);
    }
    sh::run(&mut install)
}

/// The nightly's shared LLVM. Its full name holds both versions, which only the nightly knows.
fn find_llvm(lib: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(lib).with_context(|| format!("reading {}", lib.display()))?;
    let mut files = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let llvm = files.find(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("libLLVM.so."))
    });
    match llvm {
        Some(path) => Ok(path),
        None => bail!("{} has no libLLVM.so.*: this {TOOLCHAIN} ships no shared LLVM", lib.display()),
    }
}

fn link_llvm(llvm: &Path, folder: &Path) -> Result<()> {
    let link = folder.join("libLLVM.so");
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    // It may point into a toolchain that is gone.
    drop(fs::remove_file(&link));
    symlink(llvm, &link).with_context(|| format!("linking {}", link.display()))
}

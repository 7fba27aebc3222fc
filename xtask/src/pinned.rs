//! Which toolchain compiles the kernel side, and where its linker is. `tw-trace/build.rs` includes this file too.

use std::env;
use std::path::{Path, PathBuf};

/// The compiler of the kernel side: BPF needs a core library built from source, and so a nightly.
/// It is dated because a linker works only with the LLVM of the compiler whose output it reads.
pub(crate) const TOOLCHAIN: &str = "nightly-2026-05-20";

pub(crate) const LINKER: &str = "bpf-linker";

/// Where `cargo xtask setup` puts what it builds for itself: never into cargo's own bin folder.
pub(crate) fn private_root() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("tw-trace").join(TOOLCHAIN))
}

/// The linker to use: the one that setup had to build, where it did, otherwise the first on PATH.
pub(crate) fn linker() -> Option<PathBuf> {
    let private = private_root().map(|root| root.join("bin").join(LINKER));
    private.filter(|path| path.is_file()).or_else(|| on_path(LINKER))
}

/// The first file of this name on PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Whether the toolchain with this sysroot has the sources of `core`, which no BPF target comes without.
pub(crate) fn has_core_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file()
}

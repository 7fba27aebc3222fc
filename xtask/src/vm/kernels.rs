//! The kernel lines of the matrix: which Debian packages hold them, and where the cached ones are.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::apt::Apt;
use super::arch::Arch;
use super::cache;

/// A kernel line. A new one is one more row of [`LINES`].
#[derive(Debug)]
pub(super) struct Line {
    /// As it is named on the command line and in the table.
    pub(super) name: &'static str,
    /// Debian suites that may have it.
    suites: &'static [&'static str],
    /// What stands before the release in the name of the package with vmlinuz, as a regular expression.
    image: &'static str,
    /// The release, up to `-cloud-ARCH`, as a regular expression.
    release: &'static str,
    /// What stands before the release in the name of the package with the modules, where that is another one.
    modules: Option<&'static str>,
}

pub(super) static LINES: &[Line] = &[
    Line {
        name: "5.10",
        suites: &["bullseye-security", "bullseye"],
        image: "linux-image-",
        release: r"5\.10\.0-[0-9]+",
        modules: None,
    },
    Line {
        name: "6.1",
        suites: &["bookworm-security", "bookworm"],
        image: "linux-image-",
        release: r"6\.1\.0-[0-9]+",
        modules: None,
    },
    Line {
        name: "6.12",
        suites: &["bookworm-security", "trixie-security", "bookworm-backports", "trixie"],
        image: "linux-image-",
        release: r"6\.12\.[0-9][0-9.]*\+deb[0-9.]+",
        modules: None,
    },
    Line {
        name: "6.18",
        suites: &["trixie-backports"],
        image: "linux-image-",
        release: r"6\.18\.[0-9][0-9.]*\+deb[0-9.]+",
        modules: None,
    },
    // From 7.2 on Debian's image package is empty and depends on these two.
    Line {
        name: "7",
        suites: &["trixie-backports", "forky"],
        image: "linux-binary-(unsigned-)?",
        release: r"7\.[0-9][0-9.]*\+deb[0-9.]+",
        modules: Some("linux-modules-"),
    },
];

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    pub(super) line: String,
    pub(super) arch: Arch,
    pub(super) image: PathBuf,
    /// Folder of its modules; without one, everything must be built in.
    pub(super) modules: Option<PathBuf>,
}

/// Whether a cached kernel will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    Cached,
    Newest,
}

/// Written last into a cached kernel's folder: what it holds.
const COMPLETE: &str = "package";

pub(super) fn find(name: &str) -> Result<&'static Line, String> {
    LINES.iter().find(|line| line.name == name).ok_or_else(|| {
        let known: Vec<_> = LINES.iter().map(|line| line.name).collect();
        format!("no such kernel line; there are {} (and --kernel FILE for one of your own)", known.join(", "))
    })
}

impl Line {
    /// Whether `--all` has it for this architecture.
    pub(super) fn in_matrix(&self, arch: Arch) -> bool {
        match arch {
            Arch::X86_64 => true,
            Arch::Aarch64 => ["6.12", "7"].contains(&self.name),
        }
    }
}

/// A kernel that the user brings.
pub(super) fn own(image: &Path, modules: Option<&Path>, arch: Arch) -> Result<Kernel> {
    let image = fs::canonicalize(image).with_context(|| format!("looking for {}", image.display()))?;
    Ok(Kernel { line: "own".to_owned(), arch, image, modules: modules.map(Path::to_path_buf) })
}

/// Has the line's kernel in the cache.
pub(super) fn ensure(line: &Line, arch: Arch, freshness: Freshness) -> Result<Kernel> {
    let name = format!("{}-{}", line.name, arch.name());
    let folder = cache::kernels()?.join(&name);
    if freshness == Freshness::Cached
        && folder.join(COMPLETE).is_file()
        && let Ok(kernel) = open(line, arch, &folder)
    {
        return Ok(kernel);
    }
    fetch(line, arch, &name, &folder).with_context(|| format!("there is no kernel {name}"))?;
    open(line, arch, &folder)
}

fn fetch(line: &Line, arch: Arch, name: &str, folder: &Path) -> Result<()> {
    let apt = Apt::open(name, line.suites, arch)?;
    let suffix = format!("-cloud-{}", arch.debian());
    let mut images = apt.names(&format!("^{}{}{suffix}$", line.image, line.release))?;
    // Of the same release the shorter name is the signed one.
    images.sort_by(|a, b| by_version(b, a).then(a.len().cmp(&b.len())));
    // A mirror's lists may still name what its pool no longer has.
    let mut refusals = String::new();
    for image in images.iter().take(4) {
        let mut packages = vec![image.clone()];
        if let Some(modules) = line.modules {
            packages.push(format!("{modules}{}", release_of(image)));
        }
        if open(line, arch, folder).is_ok()
            && fs::read_to_string(folder.join(COMPLETE)).is_ok_and(|have| have == packages.join("\n"))
        {
            return Ok(());
        }
        println!("vm: kernel {name}: getting {}", packages.join(" and "));
        match apt.unpack(&packages, folder, COMPLETE).and_then(|()| open(line, arch, folder)) {
            Ok(_) => return Ok(()),
            Err(why) => refusals.push_str(&format!("\n{why:#}")),
        }
    }
    bail!("none of the packages {images:?} of {} could be had{refusals}", line.suites.join(", "))
}

/// The kernel release in a package's name.
fn release_of(package: &str) -> &str {
    package.find(|c: char| c.is_ascii_digit()).map_or(package, |start| &package[start..])
}

fn open(line: &Line, arch: Arch, folder: &Path) -> Result<Kernel> {
    let modules = ["lib/modules", "usr/lib/modules"]
        .iter()
        .find_map(|parent| only_entry(&folder.join(parent), ""))
        .with_context(|| format!("{} has no modules", folder.display()))?;
    let image = only_entry(&folder.join("boot"), "vmlinuz-")
        .or_else(|| only_entry(&modules, "vmlinuz"))
        .with_context(|| format!("{} has no vmlinuz", folder.display()))?;
    Ok(Kernel { line: line.name.to_owned(), arch, image, modules: Some(modules) })
}

fn only_entry(folder: &Path, prefix: &str) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    entries.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
}

/// Compares the releases in two package names, number by number.
fn by_version(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (release_of(a).as_bytes(), release_of(b).as_bytes());
    while !a.is_empty() && !b.is_empty() {
        let (number_a, rest_a) = number(a);
        let (number_b, rest_b) = number(b);
        let order = match (number_a, number_b) {
            (Some(x), Some(y)) => x.cmp(&y),
            _ => a[0].cmp(&b[0]),
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = if number_a.is_some() { (rest_a, rest_b) } else { (&a[1..], &b[1..]) };
    }
    a.len().cmp(&b.len())
}

/// The number at the start, and what follows it.
fn number(text: &[u8]) -> (Option<u64>, &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let digits = std::str::from_utf8(&text[..end]).ok();
    (digits.and_then(|digits| digits.parse().ok()), &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest<'a>(names: &[&'a str]) -> &'a str {
        names.iter().copied().max_by(|a, b| by_version(a, b)).unwrap_or_default()
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        assert_eq!(
            newest(&["linux-image-5.10.0-9-cloud-amd64", "linux-image-5.10.0-46-cloud-amd64"]),
            "linux-image-5.10.0-46-cloud-amd64"
        );
        assert_eq!(
            newest(&[
                "linux-image-6.12.90+deb13-cloud-amd64",
                "linux-image-6.12.115+deb13-cloud-amd64",
                "linux-image-6.12.115+deb13.1-cloud-amd64",
                "linux-image-6.12.115+deb12-cloud-amd64",
            ]),
            "linux-image-6.12.115+deb13.1-cloud-amd64"
        );
        assert_eq!(
            newest(&[
                "linux-binary-7.3.4+deb13-cloud-amd64",
                "linux-binary-unsigned-7.10.0+deb13-cloud-amd64"
            ]),
            "linux-binary-unsigned-7.10.0+deb13-cloud-amd64"
        );
    }

    #[test]
    fn the_modules_have_the_image_s_release() {
        assert_eq!(release_of("linux-binary-unsigned-7.3.4+deb13-cloud-arm64"), "7.3.4+deb13-cloud-arm64");
        assert_eq!(release_of("linux-image-5.10.0-46-cloud-amd64"), "5.10.0-46-cloud-amd64");
    }

    #[test]
    fn each_line_is_found_by_its_name() {
        for line in LINES {
            assert_eq!(find(line.name).expect("a line").name, line.name);
        }
        assert!(find("6.2").expect_err("no line").contains("6.18"));
    }
}

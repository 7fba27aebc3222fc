//! Debian packages of any release and architecture, by apt itself and verified by it, in a private root:
//! neither the machine's package lists nor its installed packages are touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::arch::Arch;
use super::cache;
use super::sources::{self, Source};
use crate::sh;

/// The keys of Debian's releases; each release's own package knows the next one's.
const KEYRING: &str = "debian-archive-keyring";

/// Private lists of some suites.
#[derive(Debug)]
pub(super) struct Apt {
    root: PathBuf,
    /// apt's settings.
    settings: PathBuf,
}

/// Which suites of the machine's own mirrors are wanted.
#[derive(Clone, Copy, Debug)]
enum Suites<'a> {
    These(&'a [&'a str]),
    /// Those that the machine itself uses.
    Own,
}

impl Apt {
    /// Fetches the lists of these suites from the mirrors that the machine's own sources name.
    pub(super) fn open(name: &str, suites: &[&str], arch: Arch) -> Result<Self> {
        let machine = machine_sources()?;
        let apt = Self::prepare(name, &machine, Suites::These(suites), arch, None)?;
        let Err(why) = apt.update() else { return Ok(apt) };
        if !["NO_PUBKEY", "is not signed", "EXPKEYSIG"].iter().any(|sign| format!("{why:#}").contains(sign)) {
            return Err(why);
        }
        // A release newer than the machine's keys: its own release's package of keys, which those verify, has more.
        println!("vm: this machine's keys do not verify {}; getting {KEYRING}", suites.join(", "));
        let keys = newer_keys(&machine, arch)?;
        let apt = Self::prepare(name, &machine, Suites::These(suites), arch, Some(&keys))?;
        apt.update()?;
        Ok(apt)
    }

    /// Fetches the lists of the suites that the machine itself uses.
    pub(super) fn open_own(arch: Arch) -> Result<Self> {
        let name = format!("own-{}", arch.name());
        let apt = Self::prepare(&name, &machine_sources()?, Suites::Own, arch, None)?;
        apt.update()?;
        Ok(apt)
    }

    fn prepare(
        name: &str,
        of: &[Source],
        suites: Suites<'_>,
        arch: Arch,
        keys: Option<&Path>,
    ) -> Result<Self> {
        let root = cache::apt()?;
        for folder in ["state/lists/partial", "cache/archives/partial", "settings"] {
            make_folder(&root.join(folder))?;
        }
        let list = root.join("settings").join(format!("{name}.sources"));
        write(&list, &entries(of, suites, arch, keys)?)?;
        let settings = root.join("settings").join(format!("{name}.conf"));
        write(&settings, &settings_text(&root, &list, arch))?;
        Ok(Self { root, settings })
    }

    fn update(&self) -> Result<()> {
        sh::output(self.command("apt-get").args(["--quiet", "update"])).map(drop)
    }

    /// The packages whose names match this regular expression.
    pub(super) fn names(&self, pattern: &str) -> Result<Vec<String>> {
        let found = sh::output(self.command("apt-cache").args(["search", "--names-only", pattern]))?;
        Ok(found.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Puts the files of these packages into `folder`, all or none, and their names into its file `note`.
    pub(super) fn unpack(&self, packages: &[String], folder: &Path, note: &str) -> Result<()> {
        let fresh = folder.with_extension("new");
        let archives = self.root.join("archives");
        for folder in [&fresh, &archives] {
            remove_folder(folder)?;
            make_folder(folder)?;
        }
        sh::output(
            self.command("apt-get").args(["--quiet", "download"]).args(packages).current_dir(&archives),
        )?;
        let files = fs::read_dir(&archives).with_context(|| format!("reading {}", archives.display()))?;
        for file in files {
            let file = file.with_context(|| format!("reading {}", archives.display()))?.path();
            sh::output(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(&fresh))?;
        }
        write(&fresh.join(note), &packages.join("\n"))?;
        remove_folder(&archives)?;
        remove_folder(folder)?;
        fs::rename(&fresh, folder)
            .with_context(|| format!("renaming {} to {}", fresh.display(), folder.display()))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--config-file").arg(&self.settings).env("LC_ALL", "C");
        command
    }
}

/// The newest keys that the machine's own suites offer.
fn newer_keys(machine: &[Source], arch: Arch) -> Result<PathBuf> {
    let apt = Apt::prepare("keyring", machine, Suites::Own, arch, None)?;
    apt.update()?;
    let folder = cache::apt()?.join("keyring");
    apt.unpack(&[KEYRING.to_owned()], &folder, "package")?;
    let file = |extension| folder.join(format!("usr/share/keyrings/{KEYRING}.{extension}"));
    let found = ["gpg", "pgp"].map(file).into_iter().find(|file| file.is_file());
    found.with_context(|| format!("{KEYRING} has no keyring that apt can use"))
}

/// Debian's mirrors among the machine's own sources.
fn machine_sources() -> Result<Vec<Source>> {
    ensure!(
        sh::find_program("apt-get").is_some(),
        "kernels are taken from Debian by apt-get, which is missing; use --kernel FILE with a kernel of your own"
    );
    let mut found = read_sources(Path::new("/etc/apt/sources.list"));
    let mut files: Vec<PathBuf> = fs::read_dir("/etc/apt/sources.list.d")
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    files.sort();
    found.extend(files.iter().flat_map(|file| read_sources(file)));
    ensure!(
        found.iter().any(Source::is_main),
        "apt's sources (/etc/apt) name no Debian mirror, from where kernels are taken; add one, or use --kernel FILE"
    );
    Ok(found)
}

fn read_sources(file: &Path) -> Vec<Source> {
    let parse = match file.extension().and_then(|extension| extension.to_str()) {
        Some("list") => sources::parse_list,
        Some("sources") => sources::parse_deb822,
        _ => return Vec::new(),
    };
    fs::read_to_string(file).map(|text| parse(&text)).unwrap_or_default()
}

/// The private sources file: the machine's mirrors with the wanted suites.
fn entries(machine: &[Source], wanted: Suites<'_>, arch: Arch, keys: Option<&Path>) -> Result<String> {
    let mut text = Vec::new();
    for security in [false, true] {
        let mirror = |source: &&Source| if security { source.is_security() } else { source.is_main() };
        let own: Vec<&Source> = machine.iter().filter(mirror).collect();
        let suites: Vec<&str> = match wanted {
            Suites::These(suites) => {
                suites.iter().copied().filter(|name| sources::is_security(name) == security).collect()
            }
            Suites::Own => own.iter().flat_map(|source| source.suites.iter().map(String::as_str)).collect(),
        };
        if let (Some(first), false) = (own.first(), suites.is_empty()) {
            let mut source = (*first).clone();
            if let Some(keys) = keys {
                source.signed_by = Some(keys.display().to_string());
            }
            text.push(source.entry(&suites, arch.debian()));
        }
    }
    if text.is_empty() {
        bail!("apt's sources name no mirror for {wanted:?}");
    }
    Ok(text.join("\n"))
}

fn settings_text(root: &Path, list: &Path, arch: Arch) -> String {
    let (root, list, arch) = (root.display(), list.display(), arch.debian());
    format!(
        r#"Dir::Etc::sourcelist "{list}";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{root}/state";
Dir::State::status "/dev/null";
Dir::Cache "{root}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "";
#clear APT::Architectures;
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
// All private lists share one folder.
APT::Get::List-Cleanup "false";
// The folder is ours alone: apt's own user could not write to it.
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::AllowInsecureRepositories "false";
// What the machine does after its own updates is none of our business.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"#
    )
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            Err(why).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_suites_come_from_the_security_mirror() {
        let machine = sources::parse_list(
            "deb http://m/debian bookworm main\ndeb http://s/debian-security bookworm-security main\n",
        );
        let wanted = Suites::These(&["trixie-security", "trixie", "trixie-backports"]);
        let text = entries(&machine, wanted, Arch::Aarch64, Some(Path::new("/k.gpg"))).expect("entries");
        let parsed = sources::parse_deb822(&text);
        assert_eq!(parsed[0].uris, ["http://m/debian"]);
        assert_eq!(parsed[0].suites, ["trixie", "trixie-backports"]);
        assert_eq!(parsed[1].uris, ["http://s/debian-security"]);
        assert_eq!(parsed[1].suites, ["trixie-security"]);
        assert!(parsed.iter().all(|source| source.signed_by.as_deref() == Some("/k.gpg")));
    }

    #[test]
    fn a_machine_without_a_security_mirror_has_the_other_suites() {
        let machine = sources::parse_list("deb http://m/debian sid main\n");
        let wanted = Suites::These(&["bookworm-security", "bookworm"]);
        let text = entries(&machine, wanted, Arch::X86_64, None).expect("entries");
        assert_eq!(sources::parse_deb822(&text).len(), 1);
        assert!(entries(&machine, Suites::These(&["bookworm-security"]), Arch::X86_64, None).is_err());
    }
}

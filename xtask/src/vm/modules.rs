//! Kernel modules of a guest: found, unpacked, and ordered so that each comes after those that it needs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::sh;

/// What guests need, where a kernel has it as modules: the way to the host, and what scenarios use.
pub(super) const WANTED: &[&str] =
    &["virtio_pci", "virtio_console", "ipv6", "tun", "veth", "dummy", "inet_diag", "tcp_diag", "sch_netem"];
/// What only the checks use: elsewhere it would change what tw-trace does.
const WANTED_BY_CHECKS: &[&str] = &["dccp_ipv4"];

#[derive(Debug)]
pub(super) struct Module {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
    pub(super) wanted_by: WantedBy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WantedBy {
    All,
    Checks,
}

/// The wanted modules and all that they need. What is not there must be built in: the guest finds out.
pub(super) fn load(folder: &Path) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    index(&folder.join("kernel"), &mut files)?;
    let mut read = BTreeMap::new();
    let mut needs = |name: &str| {
        let Some(file) = files.get(name) else { return Ok(None) };
        let content = unpack(file)?;
        let needs = needs_of(&content);
        read.insert(name.to_owned(), content);
        Ok(Some(needs))
    };
    let for_all = order(WANTED, &mut needs)?;
    let all = order(&[WANTED, WANTED_BY_CHECKS].concat(), &mut needs)?;
    let module = |name: String| {
        let wanted_by = if for_all.contains(&name) { WantedBy::All } else { WantedBy::Checks };
        Some(Module { content: read.remove(&name)?, name, wanted_by })
    };
    Ok(all.into_iter().filter_map(module).collect())
}

/// Puts modules after what they need; `needs` tells what that is, or that there is no such module.
fn order(wanted: &[&str], needs: &mut dyn FnMut(&str) -> Result<Option<Vec<String>>>) -> Result<Vec<String>> {
    let mut done = Vec::new();
    // A module is reached twice: on the way down to what it needs, and on the way up.
    let mut stack: Vec<(String, bool)> =
        wanted.iter().rev().map(|name| ((*name).to_owned(), false)).collect();
    let mut seen = Vec::new();
    while let Some((name, ready)) = stack.pop() {
        if ready {
            done.push(name);
        } else if !seen.contains(&name) {
            seen.push(name.clone());
            if let Some(below) = needs(&name)? {
                stack.push((name, true));
                stack.extend(below.into_iter().map(|name| (name, false)));
            }
        }
    }
    Ok(done)
}

/// All modules below a folder, by the names that the kernel uses.
fn index(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
        if path.is_dir() {
            index(&path, files)?;
        } else if let Some(name) = module_name(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

fn module_name(path: &Path) -> Option<String> {
    let (name, rest) = path.file_name()?.to_str()?.split_once(".ko")?;
    ["", ".xz", ".zst", ".gz"].contains(&rest).then(|| name.replace('-', "_"))
}

fn unpack(file: &Path) -> Result<Vec<u8>> {
    let program = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(file).with_context(|| format!("reading {}", file.display())),
    };
    let mut command = Command::new(program);
    command.args(["-d", "-c"]).arg(file);
    let output = command.output().with_context(|| format!("starting `{}`", sh::shown(&command)))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", sh::shown(&command), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(output.stdout)
}

/// The modules that this one says it needs: a `depends=` string among its others.
fn needs_of(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module[start + KEY.len()..].split(|&byte| byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_comes_once_and_after_what_it_needs() {
        let graph = BTreeMap::from([
            ("pci", vec!["ring", "core"]),
            ("ring", vec!["core"]),
            ("core", vec![]),
            ("tun", vec![]),
        ]);
        let mut needs = |name: &str| {
            Ok(graph.get(name).map(|below| below.iter().map(|name| (*name).to_owned()).collect()))
        };
        let order = order(&["pci", "built_in", "tun", "core"], &mut needs).expect("an order");
        let at = |name: &str| order.iter().position(|other| other == name).expect("in the order");
        assert_eq!(order.len(), 4);
        assert!(at("core") < at("ring") && at("ring") < at("pci"));
    }

    #[test]
    fn what_a_module_needs_is_read_from_it() {
        assert_eq!(needs_of(b"junk\0license=GPL\0depends=inet-diag,b\0name=x\0"), ["inet_diag", "b"]);
        assert!(needs_of(b"\0license=GPL\0depends=\0name=x\0").is_empty());
        assert!(needs_of(b"nothing").is_empty());
    }

    #[test]
    fn a_file_s_name_tells_the_module() {
        assert_eq!(module_name(Path::new("/m/inet-diag.ko.xz")).as_deref(), Some("inet_diag"));
        assert_eq!(module_name(Path::new("/m/tun.ko")).as_deref(), Some("tun"));
        assert_eq!(module_name(Path::new("/m/modules.order")), None);
    }
}

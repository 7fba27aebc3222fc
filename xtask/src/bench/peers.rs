//! Other tools that do the same, where they are installed: bpftrace, libbpf-tools' tcpstates, ss.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::Sign;
use super::told::Told;
use super::view::{Scope, Subject};
use crate::sh;

/// A peer: what it is called, what it needs, and how it is run.
struct Peer {
    name: &'static str,
    /// Its program, by any of these names, and the Debian package that brings it.
    programs: &'static [&'static str],
    package: &'static str,
    args: &'static [&'static str],
    scope: Scope,
    sign: Sign,
    told: Told,
}

/// bpftrace's own sources of these are in `peers/`.
const PEERS: &[Peer] = &[
    Peer {
        name: "libbpf-tools tcpstates",
        programs: &["tcpstates", "bpf-tcpstates", "tcpstates-libbpf"],
        package: "libbpf-tools",
        args: &[],
        scope: Scope::Machine,
        sign: Sign::Attached,
        // The address of a socket, in the kernel's half.
        told: Told::Lines("ffff"),
    },
    Peer {
        name: "bpftrace, each change",
        programs: &["bpftrace"],
        package: "bpftrace",
        args: &["-q", "-e", include_str!("peers/changes.bt")],
        scope: Scope::Machine,
        sign: Sign::Attached,
        told: Told::Lines("tcp "),
    },
    Peer {
        name: "bpftrace, dwell times",
        programs: &["bpftrace"],
        package: "bpftrace",
        args: &["-q", "-e", include_str!("peers/dwell.bt")],
        scope: Scope::Machine,
        sign: Sign::Attached,
        told: Told::Buckets,
    },
    Peer {
        name: "ss, once a second",
        programs: &["ss"],
        package: "iproute2",
        args: &[],
        scope: Scope::Namespace,
        sign: Sign::None,
        told: Told::Sockets,
    },
];

/// What runs `ss`, whose path is its argument: a shell, which adds a fork to what `ss` costs, as polling does. Ctrl-C
/// ends it between two listings.
const POLL: &str = "trap 'exit 0' INT; while :; do \"$0\" -tanH state time-wait; sleep 1; done";

/// Those that are installed, and for each other one a sentence on how to get it.
pub(super) fn find() -> (Vec<Subject>, Vec<String>) {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for peer in PEERS {
        match peer.programs.iter().find_map(|name| find_program(name)) {
            Some(program) => found.push(peer.subject(program)),
            None => missing.push(format!(
                "{}: not measured, there is no {} here (`apt-get install {}`)",
                peer.name,
                peer.programs.join(" or "),
                peer.package
            )),
        }
    }
    (found, missing)
}

/// bcc's Python tools have the same names as libbpf's.
fn find_program(name: &str) -> Option<PathBuf> {
    sh::find_program(name).filter(|file| !is_python(file))
}

fn is_python(file: &Path) -> bool {
    let start = fs::read(file).unwrap_or_default();
    let first_line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    first_line.starts_with(b"#!") && first_line.windows(6).any(|word| word == b"python")
}

impl Peer {
    fn subject(&self, program: PathBuf) -> Subject {
        let version = version(&program);
        let args = self.args.iter().map(|&arg| arg.to_owned());
        let (program, args) = match self.scope {
            Scope::Namespace => {
                let path = program.to_string_lossy().into_owned();
                (PathBuf::from("/bin/sh"), vec!["-c".to_owned(), POLL.to_owned(), path])
            }
            Scope::Filter | Scope::Machine | Scope::Events => (program, args.collect()),
        };
        Subject {
            name: self.name.to_owned(),
            program,
            args,
            scope: self.scope,
            sign: self.sign,
            told: self.told,
            version,
        }
    }
}

/// The first line that `--version` gives.
fn version(program: &Path) -> Option<String> {
    let text = sh::output(Command::new(program).arg("--version")).ok()?;
    text.lines().next().map(str::to_owned)
}

//! Where other network namespaces may not be found or entered, the header says so, with numbers.

use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::os::unix::process::CommandExt as _;

use crate::harness::{live, quiet, tw_trace};
use crate::many_namespaces::Held;
use crate::run::{Run, Tracer};

/// Bits of include/uapi/linux/capability.h.
const SYS_PTRACE: libc::c_ulong = 19;
const SYS_ADMIN: libc::c_ulong = 21;

#[test]
fn processes_that_hide_their_namespaces_are_counted() {
    live("processes_that_hide_their_namespaces_are_counted", || {
        let _quiet = quiet();
        let run = without(SYS_PTRACE, || Ok(()));
        let said = blind_spot(&run, "hide their network namespace (CAP_SYS_PTRACE is needed)");
        let count: Option<u64> = said.split(' ').next().and_then(|count| count.parse().ok());
        assert!(count > Some(1), "{said}");
        let run = without(SYS_PTRACE, hide_processes);
        blind_spot(&run, "/proc lists only some processes here (hidepid");
    });
}

/// In a mount namespace of its own.
fn hide_processes() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), Some("hidepid=2"))
}

#[test]
fn namespaces_that_may_not_be_entered_are_counted() {
    live("namespaces_that_may_not_be_entered_are_counted", || {
        let _quiet = quiet();
        let held = [Held::new(1), Held::new(1)];
        let run = without(SYS_ADMIN, || Ok(()));
        let said = blind_spot(&run, "may not be entered (CAP_SYS_ADMIN is needed)");
        let count: Option<u64> = said.split(' ').next().and_then(|count| count.parse().ok());
        assert!(count > Some(1), "{said}");
        assert_eq!(run.summary["balanced"], true, "{}", run.summary);
        held.into_iter().for_each(Held::end);
    });
}

/// A short run without one of root's capabilities.
fn without(capability: libc::c_ulong, before: impl Fn() -> nix::Result<()> + Send + Sync + 'static) -> Run {
    let mut command = Command::new(tw_trace());
    command.args(["trace", "--json", "--events", "tw_exit", "--duration", "1s"]);
    let drop_it = move || {
        before()?;
        // SAFETY: takes numbers alone. Root has after exec what is left in the bounding set (capabilities(7)).
        let failed = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        if failed == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec, system calls.
    unsafe { command.pre_exec(drop_it) };
    let run = Tracer::spawn(command).finish();
    assert!(run.status.success(), "{}", run.stderr);
    run
}

/// The one that says this.
fn blind_spot(run: &Run, part: &str) -> String {
    let spots = run.header["blind_spots"].as_array().expect("blind spots");
    let mut said = spots.iter().filter_map(|spot| spot.as_str()).filter(|spot| spot.contains(part));
    said.next().unwrap_or_else(|| panic!("{part}: not among {spots:?}")).to_owned()
}

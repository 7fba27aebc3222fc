//! The kernel's own files as other machines have them: symbols of a kernel that Clang built.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::harness::{ended, live, tw_trace};

/// Runs tw-trace in a mount namespace of its own, where `hide` has put something else over the kernel's files.
fn run_with(arguments: &[&str], hide: impl Fn() -> nix::Result<()> + Send + Sync + 'static) -> Output {
    let mut command = Command::new(tw_trace());
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let enter = move || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        Ok(hide()?)
    };
    // SAFETY: between fork and exec, system calls that take no lock of this process's threads.
    unsafe { command.pre_exec(enter) };
    ended(command.spawn().expect("tw-trace"))
}

/// What a run of `trace` says where kallsyms is the kernel's own with `tw_timer_handler` written otherwise: these lines,
/// with its address for `ADDRESS`.
fn with_handler(lines: &str) -> Output {
    let symbols = fs::read_to_string("/proc/kallsyms").expect("kallsyms");
    let own = symbols.lines().find(|line| line.ends_with(" tw_timer_handler")).expect("the handler's symbol");
    let written = symbols.replace(own, &lines.replace("ADDRESS", &own[..16]));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kallsyms");
    fs::write(&path, written).expect("writing symbols");
    run_with(&["trace", "--json", "--events", "tw_enter", "--duration", "1s"], move || {
        mount(Some(&path), "/proc/kallsyms", None::<&str>, MsFlags::MS_BIND, None::<&str>)
    })
}

/// The length of TIME_WAIT is learned from a connection of tw-trace's own, by the address of its timer's function.
fn learns(output: &Output) -> bool {
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    let header = said.lines().next().expect("a header");
    !header.contains("was not learned beforehand")
}

#[test]
fn the_timers_of_a_kernel_built_with_thinlto_are_known() {
    live("the_timers_of_a_kernel_built_with_thinlto_are_known", || {
        assert!(learns(&with_handler("ADDRESS t tw_timer_handler.llvm.10133695243223489424")));
        // What a wrong address leads to: this test can fail.
        assert!(!learns(&with_handler("ffffffff00000000 t tw_timer_handler.llvm.1")));
    });
}

#[test]
fn timers_are_known_by_the_entry_of_a_jump_table() {
    live("timers_are_known_by_the_entry_of_a_jump_table", || {
        let lines = "ffffffff00000000 t tw_timer_handler\nADDRESS t tw_timer_handler.cfi_jt";
        assert!(learns(&with_handler(lines)));
    });
}

#[test]
fn twins_end_a_run_with_what_is_not_known() {
    live("twins_end_a_run_with_what_is_not_known", || {
        let output =
            with_handler("ADDRESS t tw_timer_handler.llvm.1\nffffffff00000000 t tw_timer_handler.llvm.2");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("tw_timer_handler.llvm.1, tw_timer_handler.llvm.2"), "{said}");
    });
}

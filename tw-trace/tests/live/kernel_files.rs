//! The kernel's own files as other machines have them: symbols of a kernel that Clang built, types of another kernel, and
//! no /sys at all.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::harness::{ended, live, quiet, tw_trace};

const OWN_TYPES: &str = "/sys/kernel/btf/vmlinux";
const TRACE: [&str; 5] = ["trace", "--json", "--duration", "1s", "--btf"];

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
        let _quiet = quiet();
        assert!(learns(&with_handler("ADDRESS t tw_timer_handler.llvm.10133695243223489424")));
        // What a wrong address leads to: this test can fail.
        assert!(!learns(&with_handler("ffffffff00000000 t tw_timer_handler.llvm.1")));
    });
}

#[test]
fn timers_are_known_by_the_entry_of_a_jump_table() {
    live("timers_are_known_by_the_entry_of_a_jump_table", || {
        let _quiet = quiet();
        let lines = "ffffffff00000000 t tw_timer_handler\nADDRESS t tw_timer_handler.cfi_jt";
        assert!(learns(&with_handler(lines)));
    });
}

#[test]
fn twins_end_a_run_with_what_is_not_known() {
    live("twins_end_a_run_with_what_is_not_known", || {
        let _quiet = quiet();
        let output =
            with_handler("ADDRESS t tw_timer_handler.llvm.1\nffffffff00000000 t tw_timer_handler.llvm.2");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("tw_timer_handler.llvm.1, tw_timer_handler.llvm.2"), "{said}");
    });
}

/// Without /sys, with these arguments; in a mount namespace of its own.
fn without_sys(arguments: &[&str]) -> Output {
    run_with(arguments, || mount(Some("none"), "/sys", Some("tmpfs"), MsFlags::empty(), None::<&str>))
}

#[test]
fn without_sys_every_command_says_so() {
    live("without_sys_every_command_says_so", || {
        let _quiet = quiet();
        let folder = tempfile::tempdir().expect("a folder");
        let copy = folder.path().join("btf");
        fs::copy(OWN_TYPES, &copy).expect("copying types");
        let copy = copy.to_string_lossy().into_owned();
        for command in ["trace", "hist", "wheel", "doctor"] {
            for types in [&[][..], &["--btf", &*copy]] {
                let output = without_sys(&[&[command], types].concat());
                let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
                assert_eq!(output.status.code(), Some(3), "{command} {types:?}: {said}");
                assert!(said.contains("/sys is not mounted") && said.contains("mount -t sysfs"), "{said}");
                for blame in ["CONFIG_", "has no BTF trace event"] {
                    assert!(!said.contains(blame), "{command} {types:?} blames the kernel: {said}");
                }
            }
        }
    });
}

/// What `trace` and `doctor` say to this file of types: the same exit code.
fn verdict(types: &Path) -> (Option<i32>, String) {
    let types = types.to_string_lossy();
    let run = |arguments: &[&str]| ended(spawn(Command::new(tw_trace()).args(arguments)));
    let [trace, doctor] = [run(&[&TRACE[..], &[&*types]].concat()), run(&["doctor", "--btf", &*types])];
    assert_eq!(trace.status.code(), doctor.status.code(), "{trace:?} {doctor:?}");
    (trace.status.code(), String::from_utf8_lossy(&trace.stderr).into_owned())
}

fn spawn(command: &mut Command) -> std::process::Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("tw-trace")
}

#[test]
fn types_of_another_kernel_are_refused_by_trace_and_doctor() {
    live("types_of_another_kernel_are_refused_by_trace_and_doctor", || {
        let _quiet = quiet();
        let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels");
        let others: Vec<PathBuf> =
            ["5.10-x86_64", "6.18-x86_64"].map(|kernel| kernels.join(kernel).join("btf")).into();
        for types in others {
            let (code, said) = verdict(&types);
            assert_eq!(code, Some(2), "{said}");
            assert!(said.contains("not of the kernel that runs here") && said.contains(OWN_TYPES), "{said}");
        }
    });
}

#[test]
fn a_copy_of_the_kernels_types_will_do() {
    live("a_copy_of_the_kernels_types_will_do", || {
        let _quiet = quiet();
        let folder = tempfile::tempdir().expect("a folder");
        let types = fs::read(OWN_TYPES).expect("the kernel's types");
        let copy = folder.path().join("btf");
        fs::write(&copy, &types).expect("writing types");
        assert_eq!(verdict(&copy).0, Some(0), "{}", verdict(&copy).1);
        let vmlinux = folder.path().join("vmlinux");
        fs::write(&vmlinux, elf_with(&types)).expect("writing an ELF file");
        assert_eq!(verdict(&vmlinux).0, Some(0), "{}", verdict(&vmlinux).1);
    });
}

/// What is left of a vmlinux when all but its types are taken away.
fn elf_with(types: &[u8]) -> Vec<u8> {
    use object::{Architecture, BinaryFormat, Endianness, SectionKind, write::Object};
    let mut elf = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    let section = elf.add_section(Vec::new(), b".BTF".to_vec(), SectionKind::ReadOnlyData);
    elf.append_section_data(section, types, 1);
    elf.write().expect("an ELF file")
}

/// `--btf <(zcat FILE)`: a pipe can be read only once.
#[test]
fn types_are_read_from_a_pipe() {
    live("types_are_read_from_a_pipe", || {
        let _quiet = quiet();
        let script = format!("cat {OWN_TYPES} | {} doctor --btf /dev/stdin", tw_trace().display());
        let output = ended(spawn(Command::new("sh").args(["-c", &script])));
        assert!(output.status.success(), "{output:?}");
    });
}

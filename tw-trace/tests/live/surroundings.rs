//! A run begins, works and ends whatever its surroundings do: readers that do not read, names that wait, packets that are
//! dropped, and limits on threads and memory.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo, pipe};

use crate::harness::{ended, in_time, live, quiet, tw_trace};
use crate::skip::skip;

/// Of the traffic of others: nobody reads it here, and a full pipe is another matter. No connection has this port.
const NOTHING: [&str; 2] = ["--port", "1"];
/// Longer than any start that nothing holds up, also on a busy machine.
const START: Duration = Duration::from_secs(20);

#[test]
fn a_fifo_among_the_names_of_namespaces_holds_nothing_up() {
    live("a_fifo_among_the_names_of_namespaces_holds_nothing_up", || {
        let _quiet = quiet();
        let mut command = Command::new(tw_trace());
        command.args(["trace", "--json", "--duration", "1s"]).args(NOTHING);
        // SAFETY: between fork and exec, system calls that allocate little and take no lock of this process's threads.
        unsafe { command.pre_exec(|| Ok(names_that_wait()?)) };
        let output = ended(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("tw-trace"));
        assert!(output.status.success(), "{output:?}");
    });
}

/// In a mount namespace of its own, /run/netns with a FIFO and a device in it.
fn names_that_wait() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let _ = fs::create_dir("/run/netns");
    mount(Some("none"), "/run/netns", Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    mkfifo("/run/netns/fifo", Mode::S_IRWXU)?;
    let _ = std::os::unix::fs::symlink("/dev/zero", "/run/netns/device");
    Ok(())
}

#[test]
fn a_reader_that_does_not_read_errors_holds_nothing_up() {
    live("a_reader_that_does_not_read_errors_holds_nothing_up", || {
        let _quiet = quiet();
        let (_reader, writer) = pipe().expect("a pipe");
        fill(&writer);
        let mut command = Command::new(tw_trace());
        // -v has a dozen lines to write before the first event.
        command
            .args(["-v", "trace", "--json"])
            .args(NOTHING)
            .stderr(Stdio::from(writer))
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("tw-trace");
        await_header(&mut child);
        stops(child, Signal::SIGTERM);
    });
}

/// Writes until there is no room.
fn fill(pipe: &OwnedFd) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a pipe that does not wait");
    while nix::unistd::write(pipe, &[b'x'; 4096]).is_ok() {}
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::empty())).expect("a pipe that waits again");
}

fn await_header(child: &mut Child) {
    let mut first = [0u8; 1];
    let pid = child.id();
    let output = child.stdout.as_mut().expect("its output");
    in_time(pid, || output.read_exact(&mut first)).expect("a header");
}

/// The signal ends it within seconds, with exit code 0.
fn stops(child: Child, signal: Signal) {
    let asked = Instant::now();
    kill(Pid::from_raw(child.id() as i32), signal).expect("signalling tw-trace");
    let output = ended(child);
    assert!(output.status.success(), "{output:?}");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[test]
fn a_stop_is_heard_from_the_first_moment() {
    live("a_stop_is_heard_from_the_first_moment", || {
        let _quiet = quiet();
        for wait_ms in [20, 40, 60, 80, 120, 200] {
            let mut command = Command::new(tw_trace());
            command.args(["trace", "--json"]).stdout(Stdio::null()).stderr(Stdio::piped());
            let child = command.spawn().expect("tw-trace");
            await_signal_thread(&child);
            std::thread::sleep(Duration::from_millis(wait_ms));
            stops(child, Signal::SIGINT);
        }
    });
}

/// timeout(1) sends its signal twice, to the process and to its group: that is one wish, and the run ends in order.
#[test]
fn a_signal_that_comes_twice_at_once_ends_in_order() {
    live("a_signal_that_comes_twice_at_once_ends_in_order", || {
        let _quiet = quiet();
        let mut command = Command::new(tw_trace());
        command.args(["trace", "--json"]).args(NOTHING).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("tw-trace");
        await_header(&mut child);
        for _ in 0..3 {
            kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("signalling tw-trace");
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = ended(child);
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.lines().last().is_some_and(|line| line.contains("\"summary\"")), "{said}");
    });
}

/// Waits until SIGINT is caught (SigCgt of /proc/PID/status): before that, the signal ends the process by itself.
fn await_signal_thread(child: &Child) {
    let began = Instant::now();
    let status = format!("/proc/{}/status", child.id());
    while began.elapsed() < START {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let mask = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        if mask & 1 << (Signal::SIGINT as u32 - 1) != 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("SIGINT is not caught after {START:?}");
}

/// A cgroup of a tree, made below the one that this process is in; removed at the end.
struct Group(PathBuf);

impl Group {
    /// `None` where this tree cannot be had.
    fn make(mount: &Path, own: &str, name: &str) -> Option<Self> {
        let folder =
            mount.join(own.trim_start_matches('/')).join(format!("tw-{name}-{}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        Some(Self(folder))
    }

    /// In the v2 tree, or in that of a controller of v1 when it is named.
    fn of(controller: &str, name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let kind = if controller.is_empty() { "cgroup2" } else { "cgroup" };
        let mount = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|fields| {
            fields[2] == kind
                && (controller.is_empty() || fields[3].split(',').any(|option| option == controller))
        })?;
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| {
            let fields: Vec<_> = line.splitn(3, ':').collect();
            fields[1].split(',').any(|name| name == controller).then(|| fields[2].to_owned())
        })?;
        Self::make(Path::new(mount[1]), &own, name)
    }

    /// A cgroup where this controller's file can be written: v1's tree or v2's.
    fn limited(controller: &str, files: [(&str, &str); 2], name: &str) -> Option<Self> {
        let [v1, v2] = files;
        [(controller, v1), ("", v2)].into_iter().find_map(|(tree, (file, value))| {
            let group = Self::of(tree, name)?;
            fs::write(group.0.join(file), value).is_ok().then_some(group)
        })
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        let procs = self.0.join("cgroup.procs");
        let mut command = Command::new(tw_trace());
        command.args(arguments).args(NOTHING).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: between fork and exec, one file is opened and written.
        unsafe { command.pre_exec(move || fs::write(&procs, std::process::id().to_string())) };
        command.spawn().expect("tw-trace")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn dropped_packets_do_not_hold_up_the_start() {
    const NAME: &str = "dropped_packets_do_not_hold_up_the_start";
    live(NAME, || {
        let Some(group) = Group::of("", "deny") else {
            return skip(NAME, "no cgroup v2 can be made here");
        };
        let _dropping = drop_all_packets(&group);
        let began = Instant::now();
        let mut child = group.spawn(&["trace", "--json"]);
        let mut line = Vec::new();
        let pid = child.id();
        let output = child.stdout.as_mut().expect("its output");
        in_time(pid, || {
            while line.last() != Some(&b'\n') {
                let mut byte = [0u8; 1];
                output.read_exact(&mut byte).expect("a header");
                line.push(byte[0]);
            }
        });
        assert!(began.elapsed() < START, "{:?}", began.elapsed());
        let header = String::from_utf8_lossy(&line).into_owned();
        assert!(
            header.contains("was not learned beforehand") && header.contains("IPAddressDeny"),
            "{header}"
        );
        stops(child, Signal::SIGTERM);
    });
}

/// What `IPAddressDeny=any` of a systemd unit attaches: a program that lets no packet out of the cgroup's sockets.
fn drop_all_packets(group: &Group) -> OwnedFd {
    const PROG_LOAD: libc::c_int = 5;
    const PROG_ATTACH: libc::c_int = 8;
    const CGROUP_SKB: u32 = 8;
    const INET_EGRESS: u32 = 1;
    // r0 = 0; exit
    let program: [u64; 2] = [0xb7, 0x95];
    let license = c"GPL";
    // prog_type, insn_cnt, insns, license, and nothing else of `union bpf_attr`.
    let mut load = [0u64; 16];
    load[0] = u64::from(CGROUP_SKB) | (program.len() as u64) << 32;
    load[1] = program.as_ptr() as u64;
    load[2] = license.as_ptr() as u64;
    // SAFETY: bpf(2) reads arrays that live until the call returns.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, load.as_ptr(), size_of_val(&load)) };
    assert!(fd >= 0, "loading: {}", std::io::Error::last_os_error());
    // SAFETY: the descriptor was just made and belongs to nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let folder = File::open(&group.0).expect("the cgroup");
    // target_fd, attach_bpf_fd, attach_type, attach_flags.
    let attach = [folder.as_raw_fd() as u32, fd.as_raw_fd() as u32, INET_EGRESS, 0];
    // SAFETY: as above.
    let failed = unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, attach.as_ptr(), size_of_val(&attach)) };
    assert_eq!(failed, 0, "attaching: {}", std::io::Error::last_os_error());
    fd
}

#[test]
fn a_limit_on_threads_is_no_panic() {
    const NAME: &str = "a_limit_on_threads_is_no_panic";
    live(NAME, || {
        // The process itself, and the thread that listens for signals.
        for most in ["1", "2", "3"] {
            let Some(group) = Group::limited("pids", [("pids.max", most), ("pids.max", most)], "threads")
            else {
                return skip(NAME, "no cgroup can limit threads here");
            };
            let output = ended(group.spawn(&["trace", "--json", "--duration", "1s"]));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("panicked"), "pids.max {most}: {said}");
            if most == "1" {
                assert_eq!(output.status.code(), Some(1), "{said}");
                assert!(said.contains("pids.max"), "{said}");
            } else {
                assert!(output.status.success(), "pids.max {most}: {said}");
            }
        }
    });
}

#[test]
fn a_memory_limit_is_kept() {
    const NAME: &str = "a_memory_limit_is_kept";
    live(NAME, || {
        let limit = (64 << 20).to_string();
        let files = [("memory.limit_in_bytes", &*limit), ("memory.max", &*limit)];
        let Some(group) = Group::limited("memory", files, "memory") else {
            return skip(NAME, "no cgroup can limit memory here");
        };
        for view in ["trace", "hist", "wheel"] {
            let output = ended(group.spawn(&[view, "--json", "--duration", "1s"]));
            assert!(output.status.success(), "{view}: {output:?}");
        }
        let output = ended(group.spawn(&["trace", "--json", "--duration", "1s", "--ring-size", "256MiB"]));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(said.contains("--ring-size") && said.contains("memory limit"), "{said}");
    });
}

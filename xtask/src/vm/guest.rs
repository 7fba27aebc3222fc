//! The guest's side: the first process of a kernel that was booted to run the scenarios, and nothing else.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::Pid;
use serde_json::{Value, json};
use xtask::netns;

use super::initramfs::{INIT, LAB, MODULES, MODULES_OF_CHECKS, SHELL, TW_TRACE};
use super::port;
use crate::oracle::SCENARIO;

/// File systems and where they go. What a kernel does not have is told on the console.
const MOUNTS: &[(&str, &str)] = &[
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/run"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("bpf", "/sys/fs/bpf"),
    ("tracefs", "/sys/kernel/tracing"),
    ("debugfs", "/sys/kernel/debug"),
    ("securityfs", "/sys/kernel/security"),
];

/// Ports appear a moment after their driver was loaded.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct GuestArgs {
    /// A shell on the console instead of the host's orders
    #[arg(long)]
    shell: bool,
}

/// Runs as process 1 and never returns: the guest is switched off.
pub(crate) fn run(args: &GuestArgs) -> Result<()> {
    ensure!(
        std::process::id() == 1,
        "this is the first process of a guest of `cargo xtask vm`, and nothing else"
    );
    let answer = set_up().and_then(|()| if args.shell { shell() } else { work() });
    if let Err(why) = answer {
        eprintln!("vm-guest: {why:#}");
    }
    nix::unistd::sync();
    match reboot(RebootMode::RB_POWER_OFF)? {}
}

fn set_up() -> Result<()> {
    for (kind, place) in MOUNTS {
        if let Err(why) = mount(Some(*kind), *place, Some(*kind), MsFlags::empty(), None::<&str>) {
            eprintln!("vm-guest: no {kind} on {place}: {why}");
        }
    }
    load_modules(MODULES)?;
    netns::set_up("lo")
}

fn work() -> Result<()> {
    let mut port = open_port(port::DATA)?;
    let answer = serve(&mut port);
    if let Err(why) = &answer {
        writeln!(port, "{}", json!({"guest": "failed", "why": format!("{why:#}")}))?;
    }
    answer
}

fn load_modules(folder: &str) -> Result<()> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    for path in files {
        let file = File::open(&path)?;
        if let Err(why) = finit_module(&file, c"", ModuleInitFlags::empty()) {
            eprintln!("vm-guest: {} was not loaded: {why}", path.display());
        }
    }
    Ok(())
}

/// Does what the host asks for in its one line.
fn serve(port: &mut File) -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    writeln!(port, "{}", json!({"guest": "ready", "release": release.trim()}))?;
    let mut request = String::new();
    BufReader::new(port.try_clone()?).read_line(&mut request)?;
    let request: Value = serde_json::from_str(&request).context("what the host asks for")?;
    if let Some(arguments) = request[port::BENCH].as_array() {
        return bench(arguments, port);
    }
    if let Some(names) = request[port::CHECKS].as_array() {
        return checks(names, port);
    }
    if request["extract"] == true {
        send_file("/sys/kernel/btf/vmlinux", port::BTF)?;
        send_file("/proc/kallsyms", port::KALLSYMS)?;
    }
    if request["oracle"] == true {
        oracle(port)?;
    }
    if request["suite"] == true {
        return suite(&request, port);
    }
    writeln!(port, "{}", json!({"done": true}))?;
    Ok(())
}

/// Passes on what the oracle says, as one more scenario; where it says nothing, that is told instead.
fn oracle(port: &mut File) -> Result<()> {
    const ANSWER: &str = "/tmp/oracle";
    let mut oracle = Command::new(INIT);
    oracle.args(["oracle", "--object", LAB]);
    environment(&mut oracle);
    oracle.stdin(Stdio::null()).stdout(File::create(ANSWER)?);
    let ended = await_child(&mut oracle);
    let answer = fs::read_to_string(ANSWER)?;
    if !answer.is_empty() {
        port.write_all(answer.as_bytes())?;
        return Ok(());
    }
    let why = ended.map_or_else(|why| format!("{why:#}"), |()| "it failed: the console says why".to_owned());
    writeln!(port, "{}", json!({"scenario": SCENARIO, "outcome": "fail", "why": why}))?;
    Ok(())
}

fn bench(arguments: &[Value], port: &File) -> Result<()> {
    let mut bench = Command::new(INIT);
    bench.args(["bench-guest", "--tw-trace", TW_TRACE]);
    for argument in arguments {
        bench.arg(argument.as_str().context("an argument")?);
    }
    environment(&mut bench);
    bench.stdin(Stdio::null()).stdout(port.try_clone()?);
    await_child(&mut bench)
}

fn checks(names: &[Value], port: &File) -> Result<()> {
    load_modules(MODULES_OF_CHECKS)?;
    let mut checks = Command::new(INIT);
    checks.args(["checks", "--tw-trace", TW_TRACE]);
    for name in names {
        checks.args(["--only", name.as_str().context("a check's name")?]);
    }
    environment(&mut checks);
    checks.stdin(Stdio::null()).stdout(port.try_clone()?);
    await_child(&mut checks)
}

fn suite(request: &Value, port: &File) -> Result<()> {
    let mut suite = Command::new(INIT);
    suite.args(["suite", "--tw-trace", TW_TRACE]);
    suite.args(["--backend", request["backend"].as_str().context("the host names no backend")?]);
    for name in request["only"].as_array().into_iter().flatten() {
        suite.args(["--only", name.as_str().context("a scenario's name")?]);
    }
    suite.arg("--alone");
    if request["exact"] == true {
        suite.arg("--exact");
    }
    environment(&mut suite);
    // The suite has the port to itself: what it prints reaches the host as it is.
    suite.stdin(Stdio::null()).stdout(port.try_clone()?);
    await_child(&mut suite)
}

/// A shell on the console, for a person who looks around.
fn shell() -> Result<()> {
    println!("tw-trace and xtask are in /bin, busybox's programs too; `exit` switches the guest off");
    let mut install = Command::new("/bin/busybox");
    await_child(install.args(["--install", "-s", "/bin"]))?;
    let mut shell = Command::new("/bin/setsid");
    shell.args(["-c", SHELL, "-l"]);
    environment(&mut shell);
    await_child(&mut shell)
}

fn environment(command: &mut Command) {
    command.env_clear().envs([("PATH", "/bin"), ("HOME", "/root"), ("TMPDIR", "/tmp"), ("TERM", "vt102")]);
    command.current_dir("/tmp");
}

/// Waits for this child, and for every orphan that falls to process 1 meanwhile.
fn await_child(command: &mut Command) -> Result<()> {
    let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
    let pid = Pid::from_raw(child.id().cast_signed());
    let mut status = wait()?;
    while status.pid() != Some(pid) {
        status = wait()?;
    }
    eprintln!("vm-guest: {command:?}: {status:?}");
    if let WaitStatus::Signaled(_, signal, _) = status {
        bail!("{command:?} was ended by {signal}");
    }
    Ok(())
}

fn send_file(path: &str, to: &str) -> Result<()> {
    let mut from = File::open(path).with_context(|| format!("opening {path}"))?;
    io::copy(&mut from, &mut open_port(to)?).with_context(|| format!("sending {path}"))?;
    Ok(())
}

/// The virtio port of this name.
fn open_port(name: &str) -> Result<File> {
    let start = Instant::now();
    loop {
        if let Some(device) = find_port(name) {
            let mut options = File::options();
            let opened = options.read(true).write(true).open(&device);
            return opened.with_context(|| format!("opening {}", device.display()));
        }
        if start.elapsed() > PATIENCE {
            bail!("there is no virtio port {name}: has this kernel virtio_pci and virtio_console?");
        }
        sleep(Duration::from_millis(20));
    }
}

fn find_port(name: &str) -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
    let mut folders = ports.filter_map(|entry| Some(entry.ok()?.path()));
    let folder =
        folders.find(|folder| fs::read_to_string(folder.join("name")).is_ok_and(|is| is.trim() == name))?;
    Some(Path::new("/dev").join(folder.file_name()?)).filter(|device| device.exists())
}

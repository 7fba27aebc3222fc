//! One round: the untraced load, every view over the same load, the untraced load again.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::View;

/// What all loads of a run have in common.
pub(super) struct Setting {
    pub(super) tw_trace: PathBuf,
    pub(super) xtask: PathBuf,
    pub(super) connections: u32,
    pub(super) pairs: u32,
    pub(super) per_second: Option<u32>,
}

/// What a load came to.
#[derive(Clone, Copy)]
pub(super) struct Load {
    /// Connections a second.
    pub(super) rate: f64,
    /// Of the connecting processes, in microseconds a connection.
    pub(super) cpu_us: f64,
}

/// What tw-trace came to over one load.
#[derive(Clone, Copy)]
pub(super) struct Traced {
    pub(super) load: Load,
    /// The share of the untraced rate of this round that was kept.
    pub(super) kept: f64,
    /// User and kernel time of tw-trace, in seconds per 100,000 connections, start and end included.
    pub(super) user: f64,
    pub(super) system: f64,
    /// From the start to the header line.
    pub(super) ready: Duration,
    pub(super) peak_rss_kib: u64,
    pub(super) verdict: Option<Verdict>,
}

/// What tw-trace's summary says of its own run; the text's is for people and is not read.
#[derive(Clone, Copy)]
pub(super) struct Verdict {
    pub(super) lost: u64,
    pub(super) balanced: bool,
}

pub(super) struct Round {
    pub(super) untraced: [Load; 2],
    pub(super) views: Vec<Traced>,
}

impl Round {
    /// What changes with time falls on all views alike, and on the mean of the two untraced loads.
    pub(super) fn run(setting: &Setting, views: &[&View]) -> Result<Self> {
        let before = setting.untraced()?;
        let mut traced = Vec::new();
        for view in views {
            traced.push(setting.traced(view).with_context(|| view.name)?);
        }
        let untraced = [before, setting.untraced()?];
        let mean = f64::midpoint(untraced[0].rate, untraced[1].rate);
        for view in &mut traced {
            view.kept = view.load.rate / mean;
        }
        Ok(Self { untraced, views: traced })
    }

    pub(super) fn told(&self, views: &[&View]) -> String {
        let [before, after] = self.untraced.map(|load| format!("{:.0}", load.rate));
        let kept: Vec<String> = views
            .iter()
            .zip(&self.views)
            .map(|(view, traced)| format!("{} {:.1}%", view.name, 100.0 * traced.kept))
            .collect();
        format!("untraced {before} and {after} connections/s; {}", kept.join(", "))
    }
}

impl Setting {
    fn untraced(&self) -> Result<Load> {
        let (mut load, _) = Generator::start(self)?;
        load.go()
    }

    fn traced(&self, view: &View) -> Result<Traced> {
        let (mut generator, netns) = Generator::start(self)?;
        let mut output = tempfile::NamedTempFile::new().context("a temporary file")?;
        let began = Instant::now();
        let tracer = Command::new(&self.tw_trace)
            .args(view.args)
            .args(["--netns", &netns.to_string()])
            .stdin(Stdio::null())
            .stdout(output.reopen().context("the temporary file")?)
            .stderr(Stdio::null())
            .spawn()
            .context("starting tw-trace")?;
        let mut tracer = Tracer(Some(Pid::from_raw(i32::try_from(tracer.id())?)));
        wait_for_header(output.path(), began)?;
        let ready = began.elapsed();
        let load = generator.go()?;
        let usage = tracer.stop()?;
        let hundred_thousands = f64::from(self.connections) / 100_000.0;
        let verdict = if view.args.contains(&"--json") { Some(verdict(output.as_file_mut())?) } else { None };
        Ok(Traced {
            load,
            kept: 0.0,
            user: seconds(usage.ru_utime) / hundred_thousands,
            system: seconds(usage.ru_stime) / hundred_thousands,
            ready,
            peak_rss_kib: u64::try_from(usage.ru_maxrss)?,
            verdict,
        })
    }
}

/// The load as a process of its own, waiting for its start.
struct Generator {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Generator {
    fn start(setting: &Setting) -> Result<(Self, u64)> {
        let mut command = Command::new(&setting.xtask);
        command.args(["traffic", "--new-netns", "--wait-for-stdin", "--hold", "60", "rate"]);
        command.args([
            "--connections",
            &setting.connections.to_string(),
            "--pairs",
            &setting.pairs.to_string(),
        ]);
        if let Some(rate) = setting.per_second {
            command.args(["--per-second", &rate.to_string()]);
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting the load")?;
        let lines = BufReader::new(child.stdout.take().context("the load's output")?);
        let mut generator = Self { child, lines };
        let netns = generator.line()?["netns"].as_u64().context("the load's network namespace")?;
        Ok((generator, netns))
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line).context("reading what the load says")?;
        serde_json::from_str(&line).with_context(|| format!("the load said {line:?}"))
    }

    fn go(&mut self) -> Result<Load> {
        self.child
            .stdin
            .as_mut()
            .context("the load's input")?
            .write_all(b"\n")
            .context("starting the load")?;
        let report = self.line()?;
        let figure = |name: &str| report[name].as_f64().with_context(|| format!("the load told no {name}"));
        Ok(Load { rate: figure("per_second")?, cpu_us: figure("cpu_us_per_connection")? })
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // Its namespace goes with it; the end of its input ends it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A running tw-trace, which does not outlive a failed round.
struct Tracer(Option<Pid>);

impl Tracer {
    /// What it used, once it has ended well.
    fn stop(&mut self) -> Result<libc::rusage> {
        let pid = self.0.take().context("tw-trace was stopped already")?;
        kill(pid, Signal::SIGINT).context("stopping tw-trace")?;
        wait_with_usage(pid)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill(pid, Signal::SIGKILL);
            let _ = wait_with_usage(pid);
        }
    }
}

/// tw-trace tells the header when it is attached.
fn wait_for_header(output: &Path, began: Instant) -> Result<()> {
    while output.metadata().context("tw-trace's output")?.len() == 0 {
        if began.elapsed() > Duration::from_secs(20) {
            bail!("tw-trace told no header within 20 s");
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn wait_with_usage(pid: Pid) -> Result<libc::rusage> {
    let mut status = 0;
    // SAFETY: `rusage` is plain old data, all zeroes is a valid one.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both outlive the call, and the child is ours.
    if unsafe { libc::wait4(pid.as_raw(), &raw mut status, 0, &raw mut usage) } != pid.as_raw() {
        return Err(std::io::Error::last_os_error()).context("waiting for tw-trace");
    }
    if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != 0 {
        bail!("tw-trace ended with status {status:#x}");
    }
    Ok(usage)
}

fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 / 1e6
}

/// From the last line.
fn verdict(output: &mut File) -> Result<Verdict> {
    const SUMMARY: u64 = 64 * 1024;
    let length = output.metadata()?.len();
    output.seek(SeekFrom::Start(length.saturating_sub(SUMMARY)))?;
    let mut end = Vec::new();
    output.read_to_end(&mut end)?;
    let end = String::from_utf8_lossy(&end);
    let summary: Value = serde_json::from_str(end.lines().last().context("tw-trace told nothing")?)
        .context("the last line is no summary")?;
    let lost = summary["lost"].as_u64().context("the summary tells no losses")?;
    Ok(Verdict { lost, balanced: summary["balanced"] == true })
}

//! A bound on waiting for a process: one that takes longer is described, thread by thread, and killed with its children, so
//! that whoever reads from it or waits for it goes on, and can say where it was stuck.

use std::fmt::Write as _;
use std::fs;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// So long a process may take, from when this was made until [`Limit::over`].
pub struct Limit {
    limit: Duration,
    /// Dropped when the process is through.
    through: Sender<()>,
    watcher: JoinHandle<Option<String>>,
}

impl Limit {
    /// Begins to watch. The process must not be waited for by anybody who does not call `over` right afterwards.
    pub fn on(pid: u32, limit: Duration) -> Self {
        let (through, ended) = channel();
        let watcher = thread::spawn(move || match ended.recv_timeout(limit) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => Some(end(pid)),
        });
        Self { limit, through, watcher }
    }

    /// The process is through. An error when it had to be killed, with what all of its threads were waiting for.
    pub fn over(self) -> Result<()> {
        drop(self.through);
        match self.watcher.join().map_err(|_| anyhow!("the thread that watches a process panicked"))? {
            Some(threads) => bail!("it was not over within {:?}, and was killed:\n{threads}", self.limit),
            None => Ok(()),
        }
    }
}

/// Describes a process and its descendants, then kills them.
fn end(pid: u32) -> String {
    let family = family(pid);
    let text = family.iter().map(|&pid| threads(pid)).collect();
    for pid in family.into_iter().filter_map(|pid| i32::try_from(pid).ok()) {
        // One that has ended by itself meanwhile needs no more.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    text
}

/// A line for the process, and for each thread of it what it waits for, as far as the kernel tells us.
pub fn threads(pid: u32) -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_else(|why| format!("({why})"));
    let command = read(&format!("/proc/{pid}/cmdline")).replace('\0', " ");
    let mut text = format!("process {pid}: {}\n", command.trim_end());
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for task in tasks.map(|task| task.path().display().to_string()) {
        let status = read(&format!("{task}/status"));
        let state = status.lines().find_map(|line| line.strip_prefix("State:\t")).unwrap_or("no state");
        let [comm, wchan, syscall] =
            ["comm", "wchan", "syscall"].map(|file| read(&format!("{task}/{file}")).trim_end().to_owned());
        let _ = writeln!(text, "  thread {comm}: {state}, in {wchan}, system call {syscall}");
        for frame in read(&format!("{task}/stack")).lines() {
            let _ = writeln!(text, "    {frame}");
        }
    }
    text
}

/// The process and all that descend from it, parents first.
fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|child| Some((child, parent(&fs::read_to_string(format!("/proc/{child}/stat")).ok()?)?)))
        .collect();
    let mut next = 0;
    while let Some(&of) = family.get(next) {
        family.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(child, _)| *child));
        next += 1;
    }
    family
}

/// The fourth field of /proc/PID/stat; the second, in parentheses, may have spaces and parentheses in it.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_parent_stands_behind_any_name() {
        assert_eq!(parent("77 (a) b (c)) S 12 77 77 0"), Some(12));
        assert_eq!(parent("77"), None);
    }

    /// The shell's child holds the pipe open too: the reader goes on only when both are gone.
    #[test]
    fn a_reader_goes_on_when_the_stuck_one_and_its_children_are_killed() {
        let began = Instant::now();
        let mut child = Command::new("sh")
            .args(["-c", "sleep 600; true"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let limit = Limit::on(child.id(), Duration::from_millis(500));
        let mut text = String::new();
        child.stdout.take().expect("its output").read_to_string(&mut text).expect("the end of its output");
        child.wait().expect("its end");
        let why = limit.over().expect_err("it was stuck").to_string();
        assert!(why.contains("sleep 600") && why.contains("thread sh") && why.contains("500ms"), "{why}");
        assert!(began.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn what_ends_in_time_is_left_alone() {
        let mut child = Command::new("true").spawn().expect("a process");
        let limit = Limit::on(child.id(), Duration::from_secs(60));
        assert!(child.wait().expect("its end").success());
        limit.over().expect("in time");
    }
}

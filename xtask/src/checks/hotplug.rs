//! A CPU goes offline and comes back: its timers are moved, and no time-wait socket ends before its time.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::Check;
use super::enter;
use super::need::Need;
use super::stage::{self, Stage, Told, Verdict};
use crate::netns::sysctl;
use crate::traffic::counters::living;

pub(super) const CHECK: Check = Check { name: "hotplug", needs: &[Need::Hotplug], awaits: None, run };

pub(super) const ONLINE: &str = "/sys/devices/system/cpu/cpu1/online";
const CPU: usize = 1;
const COUNT: usize = 100;
/// Sockets in FIN_WAIT2 have the same timer as those in TIME_WAIT, for as long as is asked for.
const LASTS: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_mins(1);

fn run(stage: &Stage) -> Result<Vec<Verdict>> {
    stage.traced(enter::nothing, provoke, |told, &()| judge(told))
}

/// Arms timers on CPU 1 and takes it away from under them, twice; returns when all have fired.
fn provoke() -> Result<()> {
    sysctl("net/ipv4/tcp_fin_timeout", &LASTS.as_secs().to_string())?;
    let myself = Pid::from_raw(0);
    let everywhere = sched_getaffinity(myself)?;
    let mut only = CpuSet::new();
    only.set(CPU)?;
    sched_setaffinity(myself, &only).context("moving to CPU 1")?;
    let _servers = stage::half_closed(COUNT)?;
    sched_setaffinity(myself, &everywhere).context("moving away from CPU 1")?;
    until(|count| count == COUNT as u64)?;
    for _ in 0..2 {
        let offline = Offline::take()?;
        sleep(Duration::from_millis(200));
        drop(offline);
    }
    ensure!(living()? == COUNT as u64, "the machine was so slow that sockets ended before CPU 1 was back");
    until(|count| count == 0)
}

/// Until the number of time-wait sockets of this namespace is as wanted.
fn until(wanted: impl Fn(u64) -> bool) -> Result<()> {
    let begun = Instant::now();
    while !wanted(living()?) {
        ensure!(begun.elapsed() < PATIENCE, "{} time-wait sockets after {PATIENCE:?}", living()?);
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// CPU 1, offline until this is dropped.
struct Offline;

impl Offline {
    fn take() -> Result<Self> {
        let offline = Self;
        fs::write(ONLINE, "0").context("taking CPU 1 offline")?;
        Ok(offline)
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        // What keeps it from coming back is seen by all that follows.
        let _ = fs::write(ONLINE, "1");
    }
}

fn judge(told: &Told) -> Result<()> {
    let there = told.all("tw_enter").iter().filter(|enter| enter["wheel"]["cpu"] == CPU).count();
    ensure!(there > COUNT / 2, "only {there} of {COUNT} timers were on CPU 1: this proves nothing");
    let exits = told.all("tw_exit");
    ensure!(exits.len() == COUNT, "{} ends of {COUNT} sockets", exits.len());
    for exit in exits {
        ensure!(exit["reason"] == "expired", "an end before its time: {exit}");
        let lasted = exit["fin_wait2_ns"].as_u64().map(Duration::from_nanos);
        ensure!(lasted.is_some_and(|lasted| lasted >= LASTS), "ended too early: {exit}");
        ensure!(exit["rearms"] == 0, "a move that was taken for a new start: {exit}");
    }
    ensure!(told.summary["sockets"]["entered"] == COUNT, "entered {}", told.summary["sockets"]["entered"]);
    told.balanced()
}

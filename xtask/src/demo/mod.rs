//! `cargo xtask demo`: real connections in a namespace of their own, traced from close() to the last timer.

mod progress;
mod report;
mod stage;
mod tally;

use std::fmt;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use nix::unistd::Uid;

use crate::traffic::scenario::{self, Scenario};
use progress::Progress;
use stage::{Heard, Stage};
use tally::Tally;

/// What is shown; each [`COUNT`] times.
const SHOWN: &[&str] = &["client_first_slowly", "server_first", "both_at_once", "linger0", "ipv6", "reused"];
const COUNT: u32 = 20;

/// Far beyond TIME_WAIT at any HZ: when it passes, something is wrong.
const LIMIT: Duration = Duration::from_secs(150);

/// This kernel or these privileges cannot run the demo (exit code 3): what is missing, and the next step.
#[derive(Debug)]
pub struct Unable(pub String);

impl fmt::Display for Unable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unable {}

/// Runs the demo with this tw-trace binary.
pub fn run(tw_trace: &Path) -> Result<()> {
    if !Uid::effective().is_root() {
        bail!(Unable(
            "the demo needs root: it makes a network namespace (CAP_SYS_ADMIN, CAP_NET_ADMIN) and loads BPF \
             programs (CAP_BPF, CAP_PERFMON); run `sudo -E cargo xtask demo`"
                .to_owned()
        ));
    }
    let scenarios = scenarios()?;
    let mut stage = Stage::set_up(tw_trace, &scenarios)?;
    let mut tally = Tally::new(&scenarios, COUNT);
    announce(&stage, &scenarios);
    stage.start_traffic()?;
    let finished = watch(&stage, &mut tally)?;
    stage.stop_tracer()?;
    while let Ok(heard) = stage.heard.recv() {
        tally.hear(heard);
    }
    let status = stage.tracer_status()?;
    ensure!(status.success(), "tw-trace failed ({status}); it said why above");
    ensure!(finished, "{LIMIT:?} have passed, and not every time-wait socket has ended");
    report::print(&stage, &tally)
}

/// Without what IPv6 or the tun device need, the demo is shorter.
fn scenarios() -> Result<Vec<&'static Scenario>> {
    let mut chosen = Vec::new();
    for name in SHOWN {
        let missing = match *name {
            "both_at_once" if !Path::new("/dev/net/tun").exists() => {
                Some("no /dev/net/tun (kernel module tun)")
            }
            "ipv6" if !Path::new("/proc/net/if_inet6").exists() => Some("no IPv6 in this kernel"),
            _ => None,
        };
        match missing {
            Some(missing) => eprintln!("left out: {name}: {missing}"),
            None => chosen.push(scenario::find(name)?),
        }
    }
    Ok(chosen)
}

fn announce(stage: &Stage, scenarios: &[&Scenario]) {
    println!("Network namespace {}, process {}, {COUNT} times each:", stage.netns, stage.pid);
    for scenario in scenarios {
        println!("  port {}: {}", scenario.port, scenario.about);
    }
    println!("Now the kernel keeps the closed connections in TIME_WAIT; that takes about a minute.\n");
}

/// Listens until every time-wait socket has ended; false when that takes too long.
fn watch(stage: &Stage, tally: &mut Tally) -> Result<bool> {
    let start = Instant::now();
    let mut progress = Progress::new(start);
    while !tally.complete() {
        if start.elapsed() > LIMIT {
            return Ok(false);
        }
        match stage.heard.recv_timeout(Duration::from_millis(200)) {
            Ok(Heard::Ended(who)) => bail!("{who} ended too early; it said why above"),
            Ok(heard) => tally.hear(heard),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the tracer and the traffic are gone"),
        }
        progress.tell(tally);
    }
    progress.done();
    Ok(true)
}

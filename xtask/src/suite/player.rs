//! One scenario in a process and network namespace of its own: `cargo xtask play`, as the suite starts it.
//!
//! It says hello, waits for a line, plays, tells what it did and what the kernel shows, waits until the kernel has
//! no time-wait socket left, tells the counters, and lives on until its standard input is closed: its namespace
//! must not end before the tracer has read it.

use std::fs;
use std::io::{BufRead, stdin};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::listing;
use crate::netns;
use crate::traffic::counters::{Counters, living};
use crate::traffic::scenario;
use crate::traffic::scene::{Lacking, Scene};

#[derive(Args, Debug)]
pub struct PlayArgs {
    name: String,
}

/// Longer than any time-wait socket may live here.
const LONGEST: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(500);

pub fn run(args: &PlayArgs) -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("prctl(PR_SET_PDEATHSIG)")?;
    let scenario = scenario::find(&args.name)?;
    // Not the name of the binary, which differs from machine to machine.
    prctl::set_name(c"tw-player").context("prctl(PR_SET_NAME)")?;
    let netns = netns::enter_new()?;
    say(&json!({"says": "hello", "pid": std::process::id(), "netns": netns, "cgroup": cgroup()?}));
    await_line()?;
    let before = Counters::read()?;
    let mut scene = scenario.scene(scenario.times);
    scene.on_cue(|| {
        say(&json!({"says": "waiting"}));
        await_line()
    });
    match scenario.play(&mut scene).and_then(|()| played(&scene, &before)) {
        Ok(told) => say(&told),
        Err(error) => {
            let says = if error.is::<Lacking>() { "lacking" } else { "failed" };
            say(&json!({"says": says, "why": format!("{error:#}")}));
        }
    }
    run_down()?;
    say(&json!({"says": "over", "tcpext": Counters::read()?.since(&before).to_json()}));
    drop(scene);
    // Nobody writes a second line: this is the end of the suite.
    stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

fn played(scene: &Scene, before: &Counters) -> Result<Value> {
    Ok(json!({
        "says": "played",
        "cast": scene.cast,
        "namespaces": scene.namespaces,
        "cgroups": scene.cgroups,
        "disturbed": scene.disturbed,
        "listing": listing::read()?,
        "tcpext": Counters::read()?.since(before).to_json(),
    }))
}

/// Waits until the kernel has no time-wait socket left in this namespace.
fn run_down() -> Result<()> {
    let deadline = Instant::now() + LONGEST;
    while living()? > 0 {
        ensure!(Instant::now() < deadline, "{} time-wait sockets outlived {LONGEST:?}", living()?);
        sleep(LOOK);
    }
    Ok(())
}

/// The path of our cgroup v2.
fn cgroup() -> Result<Option<String>> {
    let text = fs::read_to_string("/proc/self/cgroup").context("reading /proc/self/cgroup")?;
    Ok(text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned))
}

fn say(what: &Value) {
    println!("{what}");
}

fn await_line() -> Result<()> {
    let read = stdin().lock().read_line(&mut String::new())?;
    ensure!(read > 0, "the suite is gone");
    Ok(())
}

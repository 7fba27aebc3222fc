//! One scenario in a process and network namespace of its own: `cargo xtask play`, as the suite starts it.
//!
//! It says hello, waits for a line, plays, tells what it did and what the kernel shows, waits until the kernel has
//! no time-wait socket left, tells the counters, and lives on until its standard input is closed: its namespace
//! must not end before the tracer has read it.

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
use crate::traffic::cgroup;
use crate::traffic::counters::{Counters, living};
use crate::traffic::scenario::{self, Begins};
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
    say(&json!({"says": "hello", "pid": std::process::id(), "netns": netns, "cgroup": cgroup::own()?}));
    await_line()?;
    let before = Counters::read()?;
    let mut scene = scenario.scene(scenario.times);
    scene.on_cue(|| {
        say(&json!({"says": "waiting"}));
        await_line()
    });
    let played = match scenario.begins {
        Begins::WhenWatched => undisturbed(|| scenario.play(&mut scene)),
        // Thousands of connections take longer than the kernel lets anybody be undisturbed.
        Begins::BeforeTracer => scenario.play(&mut scene),
    };
    match played.and_then(|()| account(&scene, &before)) {
        Ok(told) => say(&told),
        Err(error) => {
            let says = if error.is::<Lacking>() { "lacking" } else { "failed" };
            say(&json!({"says": says, "why": format!("{error:#}")}));
        }
    }
    run_down()?;
    say(&json!({"says": "over", "tcpext": Counters::read()?.since(&before).to_json()}));
    // Nobody writes another line: this is the end of the suite. What the scene keeps was needed until now.
    stdin().lock().read_line(&mut String::new())?;
    drop(scene);
    Ok(())
}

/// At the first real-time priority, if we may: neither the other players nor what else the machine does come
/// between two segments.
fn undisturbed(play: impl FnOnce() -> Result<()>) -> Result<()> {
    schedule(libc::SCHED_FIFO, 1);
    let played = play();
    schedule(libc::SCHED_OTHER, 0);
    played
}

/// The system call itself: musl's function of this name only says that there is none.
fn schedule(policy: libc::c_int, priority: libc::c_int) {
    // SAFETY: the kernel reads one `struct sched_param`, an int, which lives until the call returns; thread 0 is
    // the calling one.
    unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) };
}

fn account(scene: &Scene, before: &Counters) -> Result<Value> {
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

fn say(what: &Value) {
    println!("{what}");
}

fn await_line() -> Result<()> {
    let read = stdin().lock().read_line(&mut String::new())?;
    ensure!(read > 0, "the suite is gone");
    Ok(())
}

//! tw-trace runs in a pid namespace, as in a container: pids are those that its /proc shows, and null outside of it.

use std::env;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use super::Check;
use super::enter;
use super::need::Need;
use super::stage::{Stage, Told, Verdict, on_a_thread};
use crate::netns;
use crate::traffic::tcp::{Pair, act_as, listen};

pub(super) const CHECK: Check =
    Check { name: "pid_namespace", needs: &[Need::PidNamespace], awaits: None, run };

/// Connections of each of the two processes.
const COUNT: usize = 3;
/// The process outside; that inside has the name of a scenario's client.
const OUTSIDE: &str = "tw-outside";

fn run(stage: &Stage) -> Result<Vec<Verdict>> {
    netns::in_new_netns("tw-check", |inode| {
        let inside = First::start()?;
        let path = format!("/proc/{}/ns/pid", inside.0.id());
        let namespace = File::open(&path).with_context(|| format!("opening {path}"))?;
        let enter = |command: &mut Command| enter::pid_namespace(command, &namespace);
        stage.traced_in(inode, enter, || provoke(inside), |told, _| judge(told))
    })
}

/// The first process of a pid namespace: traffic that waits for a line, and lives until this is dropped. All others there
/// end with it, and it cannot end before these have: so it is dropped after the tracers.
struct First(Child);

impl First {
    /// unshare() is for the children to come of the calling thread, so this takes a thread that ends afterwards.
    fn start() -> Result<Self> {
        let mut command = Command::new(env::current_exe().context("the path of this xtask")?);
        command.args(["traffic", "--wait-for-stdin", "--hold", "600"]);
        command.args(["scenario", "--count", &COUNT.to_string(), "client_first"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWPID).context("making a pid namespace")?;
            command.spawn().context("starting its first process")
        });
        child.map(Self)
    }

    /// Lets it make its connections. It says who it is, and then what it did.
    fn go(&mut self) -> Result<()> {
        self.0.stdin.as_mut().context("its input")?.write_all(b"go\n")?;
        let said = BufReader::new(self.0.stdout.take().context("its output")?).lines().nth(1);
        said.context("the process inside failed")??;
        Ok(())
    }
}

impl Drop for First {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Connections of the process inside, then of this one, outside.
fn provoke(mut inside: First) -> Result<First> {
    inside.go()?;
    let listener = listen(([127, 0, 0, 1], 8_999).into())?;
    for _ in 0..COUNT {
        let Pair { client, mut server } = Pair::open(&listener, listener.local_addr()?, None)?;
        act_as(OUTSIDE)?;
        drop(client);
        server.read_to_end(&mut Vec::new())?;
    }
    Ok(inside)
}

fn judge(told: &Told) -> Result<()> {
    let (outside, inside): (Vec<_>, Vec<_>) =
        told.all("tw_enter").into_iter().partition(|event| event["comm"] == OUTSIDE);
    let counts = (inside.len(), outside.len());
    ensure!(counts == (COUNT, COUNT), "{counts:?} connections of those inside and outside, not {COUNT} each");
    for event in inside {
        ensure!(event["pid"] == 1, "not its pid inside, which is 1: {event}");
    }
    for event in outside {
        ensure!(event["pid"] == Value::Null, "a pid for a process outside: {event}");
    }
    told.balanced()
}

//! `cargo xtask checks`: what needs a second CPU, real time or namespaces of its own, each under every backend at once.
//!
//! One file a theme, one [`Check`] each, all of them in [`ALL`]. Standard output is for programs, as that of the suite:
//! `{"scenarios":N}`, then for each check and backend its `scenario`, `backend`, `outcome` (pass, fail, skipped) and
//! `why`, last `{"done":true}`. People read standard error.

mod dccp;
mod enter;
mod hotplug;
mod mptcp;
mod need;
mod pid_namespace;
mod stage;
mod time_namespace;

use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use serde_json::json;

use crate::backend::Backend;
use need::Need;
use stage::{Stage, Verdict};

/// All checks, in the order of running.
const ALL: &[&Check] = &[
    &hotplug::CHECK,
    &mptcp::CHECK,
    &dccp::CHECK,
    &time_namespace::BACK,
    &time_namespace::AHEAD,
    &pid_namespace::CHECK,
];

/// Something that tw-trace must report right, and how that is found out.
struct Check {
    name: &'static str,
    /// What the kernel must have: where it lacks it, the check is skipped, and says so.
    needs: &'static [Need],
    /// What tw-trace cannot do yet. A failure is then reported as skipped, with this; the line goes when it can.
    awaits: Option<&'static str>,
    /// Makes the traffic under tracers of all backends, and judges what each of them told.
    run: fn(&Stage) -> Result<Vec<Verdict>>,
}

/// On two emulated CPUs each takes some 10 s.
const LIMIT: Duration = Duration::from_mins(3);

#[derive(Args, Debug)]
pub struct ChecksArgs {
    /// The tw-trace program to be judged
    #[arg(long, value_name = "PATH")]
    tw_trace: PathBuf,
    /// Its backend [default: each]
    #[arg(long)]
    backend: Vec<Backend>,
    /// Only this check
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

/// Runs the checks and prints what each came to under each backend.
pub fn run(args: &ChecksArgs) -> Result<ExitCode> {
    let chosen = chosen(&args.only)?;
    let backends = if args.backend.is_empty() { Backend::ALL.to_vec() } else { args.backend.clone() };
    let stage = Stage { tw_trace: args.tw_trace.clone(), backends };
    say(&json!({"scenarios": chosen.len() * stage.backends.len()}))?;
    let mut failed = 0;
    for check in chosen {
        for (backend, outcome) in outcomes(check, &stage) {
            failed += usize::from(matches!(outcome, Outcome::Fail(_)));
            tell(check.name, backend, &outcome)?;
        }
    }
    say(&json!({"done": true}))?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// True for the name of a check, which `--only` takes.
pub fn is_check(name: &str) -> bool {
    ALL.iter().any(|check| check.name == name)
}

fn chosen(only: &[String]) -> Result<Vec<&'static Check>> {
    if only.is_empty() {
        return Ok(ALL.to_vec());
    }
    let find = |name: &String| {
        let known = || ALL.iter().map(|check| check.name).collect::<Vec<_>>().join(", ");
        let found = ALL.iter().copied().find(|check| check.name == *name);
        found.with_context(|| format!("there is no check {name}; there are {}", known()))
    };
    only.iter().map(find).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Pass,
    Skipped(String),
    Fail(String),
}

fn outcomes(check: &Check, stage: &Stage) -> Vec<(Backend, Outcome)> {
    let all = |outcome: fn(String) -> Outcome, why: &str| {
        stage.backends.iter().map(|&backend| (backend, outcome(why.to_owned()))).collect()
    };
    if let Some(lacking) = check.needs.iter().find_map(Need::lacking) {
        return all(Outcome::Skipped, &lacking);
    }
    eprintln!("{} begins", check.name);
    match bounded(check, stage) {
        Ok(verdicts) => verdicts
            .into_iter()
            .map(|verdict| (verdict.backend, outcome(check.awaits, verdict.judged)))
            .collect(),
        Err(why) => all(Outcome::Fail, &format!("it could not be done: {why:#}")),
    }
}

/// Runs it, and gives it up when it takes longer than any should: the others are run all the same.
fn bounded(check: &Check, stage: &Stage) -> Result<Vec<Verdict>> {
    let (tell, told) = mpsc::channel();
    let (run, stage) = (check.run, stage.clone());
    // Nobody listens any more to one that was given up.
    thread::spawn(move || drop(tell.send(run(&stage))));
    told.recv_timeout(LIMIT).map_err(|_| anyhow!("it panicked, or was not over within {LIMIT:?}"))?
}

/// What a judgement comes to, for a check that may await something.
fn outcome(awaits: Option<&str>, judged: Result<()>) -> Outcome {
    match (judged, awaits) {
        (Ok(()), _) => Outcome::Pass,
        (Err(why), None) => Outcome::Fail(format!("{why:#}")),
        (Err(why), Some(awaits)) => Outcome::Skipped(format!("awaits {awaits}: {why:#}")),
    }
}

fn tell(name: &str, backend: Backend, outcome: &Outcome) -> Result<()> {
    let (word, why) = match outcome {
        Outcome::Pass => ("pass", None),
        Outcome::Skipped(why) => ("skipped", Some(why)),
        Outcome::Fail(why) => ("fail", Some(why)),
    };
    let because = why.map(|why| format!(": {why}")).unwrap_or_default();
    eprintln!("{word:10} {name}, {}{because}", backend.name());
    say(&json!({"scenario": name, "backend": backend.name(), "outcome": word, "why": why}))
}

fn say(what: &serde_json::Value) -> Result<()> {
    let mut out = stdout();
    writeln!(out, "{what}")?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_check_is_found_by_its_name_and_by_no_other() {
        for check in ALL {
            assert!(is_check(check.name));
            assert_eq!(ALL.iter().filter(|other| other.name == check.name).count(), 1, "{}", check.name);
        }
        assert!(!is_check("hotplugs"));
        let unknown = chosen(&["hotplugs".to_owned()]).err().expect("no such check");
        assert!(unknown.to_string().contains("hotplug, "), "{unknown}");
    }

    #[test]
    fn what_fails_is_skipped_only_where_it_awaits_something() {
        assert_eq!(outcome(None, Err(anyhow!("no"))), Outcome::Fail("no".to_owned()));
        assert_eq!(outcome(Some("x"), Err(anyhow!("no"))), Outcome::Skipped("awaits x: no".to_owned()));
        assert_eq!(outcome(Some("x"), Ok(())), Outcome::Pass);
    }
}

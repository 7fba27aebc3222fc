//! `cargo xtask traffic`: the traffic as a process of its own, with a pid and a namespace to be watched.
//!
//! Standard output is one JSON object a line: first who and where (`pid`, `netns`), then one per piece of work.

use std::io::{BufRead, Read, stdin};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use serde_json::json;

use super::rate::{self, Load, MAX_PAIRS};
use super::scenario;
use crate::netns;

#[derive(Args, Debug)]
pub struct TrafficArgs {
    #[command(subcommand)]
    work: Work,
    /// Make a network namespace for it, with lo up; without it, the traffic is in the present one
    #[arg(long, global = true)]
    new_netns: bool,
    /// Start only when a line comes on standard input (end early when that is closed)
    #[arg(long, global = true)]
    wait_for_stdin: bool,
    /// Keep the process and so its namespace alive this many seconds longer
    #[arg(long, global = true, default_value_t = 0, value_name = "SECONDS")]
    hold: u64,
}

#[derive(Subcommand, Debug)]
enum Work {
    /// As many connections as the machine gives; the client closes first
    Rate(RateArgs),
    /// Named ways to use and end connections, one after the other
    Scenario {
        #[arg(required = true)]
        names: Vec<String>,
        /// Repetitions of each
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
    },
    /// The names of all scenarios and what they do
    List,
}

#[derive(Args, Debug)]
struct RateArgs {
    #[arg(long, default_value_t = 300_000)]
    connections: u32,
    /// Client threads, and as many server threads
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PAIRS)))]
    pairs: u32,
    /// Connections a pair has open at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    batch: u32,
    /// No more connections a second than this
    #[arg(long)]
    per_second: Option<u32>,
    /// Have packets taken up in softirqs of all CPUs, which interrupt the processes there; needs --new-netns
    #[arg(long)]
    steer: bool,
    /// Make as many connections first, before anything is said: their sockets are in TIME_WAIT by then
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_500_000))]
    standing: u32,
}

/// Does what the command line says.
pub fn run(args: &TrafficArgs) -> Result<()> {
    let netns = if args.new_netns { netns::enter_new()? } else { netns::inode()? };
    if let Work::List = args.work {
        for scenario in scenario::all() {
            println!("{:20} port {}  {}", scenario.name, scenario.port, scenario.about);
        }
        return Ok(());
    }
    if let (true, Work::Rate(_)) = (args.new_netns, &args.work) {
        // The kernel hands ports out in one sequence for all namespaces: beside another load, a port comes round
        // within seconds and would be taken over.
        netns::sysctl("net/ipv4/tcp_tw_reuse", "0")?;
    }
    if let Work::Rate(rate) = &args.work {
        ensure!(args.new_netns || rate.standing == 0, "--standing fills a namespace: give --new-netns too");
        ensure!(args.new_netns || !rate.steer, "--steer changes a namespace: give --new-netns too");
        if rate.steer {
            netns::steer_packets()?;
        }
        stand(rate)?;
    }
    println!("{}", json!({"pid": std::process::id(), "netns": netns}));
    if args.wait_for_stdin {
        let read = stdin().lock().read_line(&mut String::new())?;
        ensure!(read > 0, "standard input was closed before the line to start on");
    }
    work(&args.work)?;
    hold(args);
    Ok(())
}

/// Makes the connections that are to be there already.
fn stand(args: &RateArgs) -> Result<()> {
    if args.standing == 0 {
        return Ok(());
    }
    let load = Load { connections: args.standing, per_second: None, first: 0, ..args.load() };
    let report = rate::run(&load)?;
    if report.living < u64::from(args.standing) {
        println!("{}", json!({"too_slow": true}));
    }
    ensure!(
        report.living >= u64::from(args.standing),
        "{} of {} sockets are in TIME_WAIT: this machine makes them slower than they end",
        report.living,
        args.standing
    );
    Ok(())
}

impl RateArgs {
    const fn load(&self) -> Load {
        Load {
            connections: self.connections,
            pairs: self.pairs,
            batch: self.batch,
            per_second: self.per_second,
            first: self.standing,
        }
    }
}

fn work(work: &Work) -> Result<()> {
    match work {
        Work::List => Ok(()),
        Work::Rate(args) => {
            println!("{}", rate::run(&args.load())?.to_json());
            Ok(())
        }
        Work::Scenario { names, count } => {
            for name in names {
                println!("{}", scenario::find(name)?.run(*count)?);
            }
            Ok(())
        }
    }
}

/// Waits; when standard input is somebody's pipe, not longer than they live.
fn hold(args: &TrafficArgs) {
    let time = Duration::from_secs(args.hold);
    if !args.wait_for_stdin {
        thread::sleep(time);
        return;
    }
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        let _ = stdin().lock().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    let _ = end.recv_timeout(time);
}

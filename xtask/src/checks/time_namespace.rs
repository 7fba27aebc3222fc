//! tw-trace runs in a time namespace, whose clocks are not the kernel's: times are right, and nothing is held back.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Check;
use super::enter;
use super::need::Need;
use super::stage::{self, Stage, Told, Verdict};
use crate::netns::sysctl;

const NEEDS: &[Need] = &[Need::TimeNamespace];

pub(super) const BACK: Check =
    Check { name: "time_namespace_back", needs: NEEDS, awaits: None, run: |stage| run(stage, back()?) };

pub(super) const AHEAD: Check =
    Check { name: "time_namespace_ahead", needs: NEEDS, awaits: None, run: |stage| run(stage, A_DAY) };

const A_DAY: i64 = 86_400;
const COUNT: usize = 5;
/// Long enough to be told apart from the instant, and short for a check.
const LASTS: Duration = Duration::from_secs(2);
/// An emulated CPU is late, but not that late.
const TOLERANCE: Duration = Duration::from_secs(3);

/// Half of this machine's time since boot: no clock can be set back behind 0.
fn back() -> Result<i64> {
    let uptime = fs::read_to_string("/proc/uptime")?;
    let seconds = uptime.split('.').next().and_then(|text| text.parse::<i64>().ok());
    Ok(-seconds.context("the time since boot")? / 2)
}

fn run(stage: &Stage, seconds: i64) -> Result<Vec<Verdict>> {
    ensure!(
        seconds.unsigned_abs() > 2 * TOLERANCE.as_secs(),
        "booted too recently: {seconds} s prove nothing"
    );
    let enter = |command: &mut _| {
        enter::time_namespace(command, seconds);
        Ok(())
    };
    stage.traced(enter, provoke, judge)
}

/// When the sockets began, and when all of them had ended.
struct Lived {
    from: SystemTime,
    to: SystemTime,
}

fn provoke() -> Result<Lived> {
    sysctl("net/ipv4/tcp_fin_timeout", &LASTS.as_secs().to_string())?;
    let from = SystemTime::now();
    let _servers = stage::half_closed(COUNT)?;
    sleep(LASTS + Duration::from_secs(1));
    Ok(Lived { from, to: SystemTime::now() })
}

fn judge(told: &Told, lived: &Lived) -> Result<()> {
    let (enters, exits) = (told.all("tw_enter"), told.all("tw_exit"));
    ensure!(
        enters.len() == COUNT && exits.len() == COUNT,
        "{} beginnings and {} ends of {COUNT} sockets",
        enters.len(),
        exits.len()
    );
    let live = told.live().iter().filter(|event| event["event"] == "tw_exit").count();
    ensure!(live == COUNT, "{live} of {COUNT} ends were told while it ran, the others were held back");
    for event in enters.iter().chain(&exits) {
        let at = wall_clock(event)?;
        ensure!(lived.from - TOLERANCE <= at && at <= lived.to + TOLERANCE, "at another time: {event}");
    }
    for exit in exits {
        let lasted = exit["fin_wait2_ns"].as_u64().map(Duration::from_nanos);
        ensure!(lasted.is_some_and(|lasted| lasted >= LASTS && lasted < LASTS + TOLERANCE), "lasted: {exit}");
    }
    told.balanced()
}

fn wall_clock(event: &Value) -> Result<SystemTime> {
    let ts = event["ts"].as_str().with_context(|| format!("no ts in {event}"))?;
    humantime::parse_rfc3339(ts).with_context(|| format!("ts in {event}"))
}

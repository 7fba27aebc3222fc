//! What the kernel itself lists of its time-wait sockets at one moment, and whether the tracer's events say the same.

use anyhow::Result;
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::truth::Life;
use crate::traffic::counters::living;
use crate::traffic::sock_diag;

/// The list as it travels from a player to the suite: with the time before and after it was made.
pub(super) fn read() -> Result<Value> {
    let from_ns = monotonic_ns()?;
    let before = living()?;
    let sockets = sock_diag::time_waits()?;
    let living = [before, living()?];
    let to_ns = monotonic_ns()?;
    let sockets: Vec<_> = sockets
        .iter()
        .map(|socket| {
            json!({
                "ends": ends(&socket.local.ip().to_string(), socket.local.port().into(),
                    &socket.remote.ip().to_string(), socket.remote.port().into(), socket.ifindex.into()),
                "substate": socket.substate,
                "expires_ms": socket.expires_ms,
            })
        })
        .collect();
    Ok(json!({"from_ns": from_ns, "to_ns": to_ns, "sockstat_tw": living, "sockets": sockets}))
}

/// What tells connections of one namespace apart; `ifindex` is zero where there is none.
pub(super) fn ends(laddr: &str, lport: u64, raddr: &str, rport: u64, ifindex: u64) -> String {
    format!("{laddr} {lport} > {raddr} {rport} on {ifindex}")
}

fn monotonic_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(u64::try_from(now.tv_sec())? * 1_000_000_000 + u64::try_from(now.tv_nsec())?)
}

/// Where the list and the tracer's events differ.
pub(super) fn problems(listing: &Value, lives: &[Life], tick_ns: u64) -> Vec<String> {
    let from = listing["from_ns"].as_u64().unwrap_or(0);
    let to = listing["to_ns"].as_u64().unwrap_or(0);
    let listed = listing["sockets"].as_array().map_or(&[][..], Vec::as_slice);
    let mut problems = Vec::new();
    // One may have ended meanwhile.
    let counted = listing["sockstat_tw"].as_array().map_or(&[][..], Vec::as_slice);
    if !counted.iter().any(|living| *living == listed.len()) {
        problems.push(format!(
            "sockstat has {} tw, sock_diag lists {}",
            listing["sockstat_tw"],
            listed.len()
        ));
    }
    let mut alive: Vec<&Life> = lives.iter().filter(|life| life.alive_at(from)).collect();
    for socket in listed {
        let found = alive.iter().position(|life| socket["ends"] == life.ends.as_str());
        match found {
            None => problems.push(format!("the kernel lists {}, no event tells of it", socket["ends"])),
            Some(index) => problems.extend(differs(socket, alive.swap_remove(index), [from, to], tick_ns)),
        }
    }
    for life in alive {
        problems.push(format!("by the events {} lives, the kernel does not list it", life.ends));
    }
    problems
}

/// One socket: its substate and when its timer ends.
fn differs(socket: &Value, life: &Life, [from, to]: [u64; 2], tick_ns: u64) -> Option<String> {
    let ends = &life.ends;
    // A FIN may come while the list is made.
    let substates = [life.substate_at(from), life.substate_at(to)];
    if !substates.iter().any(|substate| substate.is_none_or(|substate| socket["substate"] == substate)) {
        return Some(format!(
            "{ends}: by the events in {} and then in {}, by the kernel's list in {}",
            substates[0].unwrap_or("?"),
            substates[1].unwrap_or("?"),
            socket["substate"]
        ));
    }
    let due = life.due_ns?;
    let left = socket["expires_ms"].as_u64()? * 1_000_000;
    // Jiffies go by in ticks, and the list rounds to a millisecond.
    let slack = 2 * tick_ns + 1_000_000;
    let (least, most) = (from + left.saturating_sub(slack), to + left + slack);
    (!(least..=most).contains(&due)).then(|| {
        let off = if due < least { due.abs_diff(least) } else { due.abs_diff(most) };
        format!("{ends}: by the events its timer ends {} ms off the kernel's list", off / 1_000_000)
    })
}

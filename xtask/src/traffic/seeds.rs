//! Sockets that are in TIME_WAIT, in both substates and by the thousand, before the tracer starts.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread::sleep;

use anyhow::Result;

use super::await_kernel::{error_of, time_waits};
use super::expect::{Expect, FIN_WAIT2_ONLY, ONE};
use super::rearm::PAST_ONE_GRANULE;
use super::scenario::Scenario;
use super::scene::Scene;
use super::tcp::{CLIENT_COMM, LOOPBACK, LOOPBACK6, Pair, SERVER_COMM, act_as, listen, reset_on_close};
use crate::netns;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("seeded", 8100, "2,000 sockets are in TIME_WAIT before the tracer starts", ONE, time_wait)
        .times(2_000)
        .before_the_tracer(),
    Scenario::new("seeded6", 8101, "the same over IPv6, 500", ONE, time_wait6).times(500).before_the_tracer(),
    Scenario::new(
        "seeded_fin_wait2",
        8102,
        "1,000 sockets are in FIN_WAIT2 before the tracer starts, and expire",
        FIN_WAIT2_ONLY,
        fin_wait2,
    )
    .times(1_000)
    .before_the_tracer(),
    Scenario::new(
        "seeded_then_fin",
        8103,
        "FINs come for sockets that were in FIN_WAIT2 before the tracer",
        Expect { time_wait: 1, ..FIN_WAIT2_ONLY },
        then_fin,
    )
    .times(20)
    .before_the_tracer(),
    Scenario::new(
        "seeded_then_data",
        8104,
        "data comes for sockets that were in FIN_WAIT2 before the tracer",
        Expect { ended: Some((1, "reset_sent")), ..FIN_WAIT2_ONLY },
        then_data,
    )
    .times(20)
    .before_the_tracer(),
    Scenario::new(
        "seeded_then_rst",
        8105,
        "RSTs come for sockets that were in FIN_WAIT2 before the tracer",
        Expect { ended: Some((1, "rst")), ..FIN_WAIT2_ONLY },
        then_rst,
    )
    .times(20)
    .before_the_tracer(),
];

fn time_wait(scene: &mut Scene) -> Result<()> {
    close_all(scene, LOOPBACK.into())
}

fn time_wait6(scene: &mut Scene) -> Result<()> {
    close_all(scene, LOOPBACK6.into())
}

/// The kernel hands ports out in one sequence for all namespaces: beside another load, a port comes round within
/// seconds and would be taken over.
fn no_reuse() -> Result<()> {
    netns::sysctl("net/ipv4/tcp_tw_reuse", "0")
}

fn close_all(scene: &mut Scene, ip: IpAddr) -> Result<()> {
    no_reuse()?;
    let at = SocketAddr::new(ip, scene.port);
    let listener = listen(at)?;
    for _ in 0..scene.count {
        Pair::open(&listener, at, None)?.close_client_first(scene)?;
    }
    // Some may have been in FIN_WAIT2 on their way: before the tracer, that does not matter.
    scene.disturbed = None;
    time_waits(scene.count.into())?;
    scene.wait_for_tracer()
}

/// The servers' ends outlive them: nothing may reach them.
fn fin_wait2(scene: &mut Scene) -> Result<()> {
    let servers = orphans(scene)?;
    scene.keep(servers);
    Ok(())
}

/// Late enough that the timer changes its slot on the wheel.
fn then_fin(scene: &mut Scene) -> Result<()> {
    let servers = orphans(scene)?;
    sleep(PAST_ONE_GRANULE);
    drop(servers);
    Ok(())
}

fn then_data(scene: &mut Scene) -> Result<()> {
    let mut servers = orphans(scene)?;
    for server in &mut servers {
        server.write_all(b"late")?;
        error_of(server)?;
    }
    Ok(())
}

fn then_rst(scene: &mut Scene) -> Result<()> {
    let servers = orphans(scene)?;
    for server in &servers {
        reset_on_close(server)?;
    }
    Ok(())
}

/// Closes the clients' ends, waits until all are mini-sockets, and then for the tracer. Gives the servers' ends.
fn orphans(scene: &mut Scene) -> Result<Vec<TcpStream>> {
    no_reuse()?;
    let at = SocketAddr::new(LOOPBACK.into(), scene.port);
    let listener = listen(at)?;
    let mut servers = Vec::new();
    for _ in 0..scene.count {
        let Pair { client, server } = Pair::open(&listener, at, None)?;
        act_as(CLIENT_COMM)?;
        drop(client);
        servers.push(server);
    }
    // The last ACKs are delayed by 40 ms.
    time_waits(scene.count.into())?;
    scene.wait_for_tracer()?;
    act_as(SERVER_COMM)?;
    Ok(servers)
}

//! The peer's FIN comes late or never: full FIN_WAIT2 sockets and the mini-sockets that stand for orphaned ones.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::await_kernel::{end_of, error_of, time_waits};
use super::counters::living;
use super::difference::{Difference, Rule, When};
use super::expect::{Expect, FIN_WAIT2_ONLY, ONE, VIA_FIN_WAIT2};
use super::rearm::PAST_ONE_GRANULE;
use super::scenario::Scenario;
use super::scene::Scene;
use super::tcp::{CLIENT_COMM, LOOPBACK, Pair, SERVER_COMM, act_as, finish, listen, reset_on_close};
use crate::backend::Backend;
use crate::netns::{read_sysctl, sysctl};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "half_close",
        8009,
        "the client shuts down, the server closes 100 ms later",
        ONE,
        half_close,
    ),
    Scenario::new(
        "fin_wait2_then_fin",
        8010,
        "the client closes, the server only 5.3 s later",
        VIA_FIN_WAIT2,
        then_fin,
    ),
    Scenario::new(
        "fin_wait2_expires",
        8011,
        "the client closes, the server never; tcp_fin_timeout is 2 s",
        Expect { ended: Some((1, "expired")), ..FIN_WAIT2_ONLY },
        expires,
    ),
    Scenario::new(
        "fin_wait2_data",
        8012,
        "the client closes, then the server sends data",
        Expect { ended: Some((1, "reset_sent")), ..FIN_WAIT2_ONLY },
        data,
    ),
    Scenario::new(
        "fin_wait2_rst",
        8013,
        "the client closes, then the server resets",
        Expect { ended: Some((1, "rst")), ..FIN_WAIT2_ONLY },
        reset,
    ),
    Scenario::new(
        "fin_wait2_then_fin_soon",
        8026,
        "the client closes, the server only 600 ms later",
        VIA_FIN_WAIT2,
        then_fin_soon,
    )
    .differs(HIDDEN_FLIP),
];

pub(super) const HIDDEN_FLIP: &[Difference] = &[Difference {
    when: When::Backend(Backend::Tracepoint),
    why: "a timer that is restarted within its wheel slot fires no event: found at the exit, dated to a jiffy",
    rules: &[
        Rule::MayMiss { event: "tw_rearm", key: "cause", value: "fin" },
        Rule::MayMiss { event: "tw_enter", key: "substate", value: "TIME_WAIT" },
        Rule::Varies { event: "tw_exit", key: "entered" },
        Rule::Varies { event: "tw_exit", key: "rearm_hidden" },
    ],
}];

/// How long [`half_close`] keeps the full socket in FIN_WAIT2.
const HALF_CLOSED: Duration = Duration::from_millis(100);
/// How long [`then_fin_soon`] keeps the mini-socket in FIN_WAIT2, at least.
const FIN_HELD: Duration = Duration::from_millis(600);

const FIN_TIMEOUT: &str = "net/ipv4/tcp_fin_timeout";

/// The client still owns its socket: FIN_WAIT2 is a full socket, the FIN then leads straight to TIME_WAIT.
fn half_close(scene: &mut Scene) -> Result<()> {
    let pairs = open_all(scene)?;
    act_as(CLIENT_COMM)?;
    for pair in &pairs {
        finish(&pair.client)?;
    }
    sleep(HALF_CLOSED);
    act_as(SERVER_COMM)?;
    for Pair { mut client, server } in pairs {
        drop(server);
        end_of(&mut client)?;
        drop(client);
    }
    Ok(())
}

/// Orphaned: a FIN_WAIT2 mini-socket, whose FIN comes so much later that its timer changes its wheel slot.
fn then_fin(scene: &mut Scene) -> Result<()> {
    fin_after(scene, PAST_ONE_GRANULE)
}

/// The same, but soon: when `tcp_fin_timeout` is as long as TIME_WAIT, the timer mostly stays in its slot,
/// and no timer event tells of the change.
fn then_fin_soon(scene: &mut Scene) -> Result<()> {
    fin_after(scene, FIN_HELD)
}

fn fin_after(scene: &mut Scene, held: Duration) -> Result<()> {
    let servers = orphan_clients(scene)?;
    sleep(held);
    act_as(SERVER_COMM)?;
    drop(servers);
    Ok(())
}

/// The FIN never comes, the mini-socket lives `tcp_fin_timeout` (2 s: TcpExt counts it as TWKilled).
fn expires(scene: &mut Scene) -> Result<()> {
    let timeout = read_sysctl(FIN_TIMEOUT)?;
    sysctl(FIN_TIMEOUT, "2")?;
    let before = living()?;
    let result = orphan_clients(scene);
    sysctl(FIN_TIMEOUT, &timeout)?;
    let servers = result?;
    wait_until(Duration::from_secs(5), || Ok(living()? <= before))?;
    // Nothing is left to answer the servers but an RST.
    drop(servers);
    Ok(())
}

/// Data behind a close(): the kernel answers with an RST and drops the mini-socket.
fn data(scene: &mut Scene) -> Result<()> {
    let mut servers = orphan_clients(scene)?;
    act_as(SERVER_COMM)?;
    for server in &mut servers {
        server.write_all(b"late")?;
        error_of(server)?;
    }
    Ok(())
}

/// The peer throws the connection away: its RST ends the mini-socket.
fn reset(scene: &mut Scene) -> Result<()> {
    let servers = orphan_clients(scene)?;
    act_as(SERVER_COMM)?;
    for server in &servers {
        reset_on_close(server)?;
    }
    drop(servers);
    Ok(())
}

/// Opens connections and closes the clients' ends; returns when all are FIN_WAIT2 mini-sockets.
///
/// That takes the server's ACK, which may be delayed by 40 ms.
fn orphan_clients(scene: &Scene) -> Result<Vec<TcpStream>> {
    let pairs = open_all(scene)?;
    let before = living()?;
    act_as(CLIENT_COMM)?;
    let mut servers = Vec::with_capacity(pairs.len());
    for Pair { client, server } in pairs {
        drop(client);
        servers.push(server);
    }
    time_waits(before + u64::from(scene.count))?;
    Ok(servers)
}

fn open_all(scene: &Scene) -> Result<Vec<Pair>> {
    let at = SocketAddr::new(LOOPBACK.into(), scene.port);
    let listener = listen(at)?;
    (0..scene.count).map(|_| Pair::open(&listener, at, None)).collect()
}

fn wait_until(limit: Duration, done: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !done()? {
        if Instant::now() > deadline {
            bail!("the FIN_WAIT2 mini-sockets did not do what they should within {limit:?}");
        }
        sleep(Duration::from_millis(2));
    }
    Ok(())
}

//! What reaches an orphan in FIN_WAIT2: a mini-socket whose owner has closed it and whose peer has not.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;

use super::await_kernel::time_waits;
use super::counters::living;
use super::difference::{Difference, Rule, When};
use super::expect::{Expect, FIN_WAIT2_ONLY, VIA_FIN_WAIT2};
use super::fin_wait2::HIDDEN_FLIP;
use super::handshake::close_first;
use super::mirror::Family::{self, V4, V6};
use super::mirror::{Mirror, start_connect, start_connect_from};
use super::peer::{Peer, Say};
use super::rearm::PAST_ONE_GRANULE;
use super::scenario::Scenario;
use super::scene::{Lacking, Scene};
use super::sock_diag;
use super::tcp::{CLIENT_COMM, act_as};
use crate::backend::Backend;
use crate::netns::sysctl;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("fin_wait2_syn", 8060, "a SYN for an orphan: it is answered with an RST", RESET_SENT, syn),
    Scenario::new("fin_wait2_data6", 8061, "data for an orphan, IPv6", RESET_SENT, data6),
    Scenario::new(
        "fin_wait2_killed",
        8062,
        "SOCK_DESTROY of an orphan",
        Expect { ended: Some((1, "killed")), ..FIN_WAIT2_ONLY },
        killed,
    ),
    Scenario::new("fin_wait2_ack", 8063, "a bare ACK for an orphan changes nothing", EXPIRES, bare_ack),
    Scenario::new(
        "fin_wait2_paws",
        8064,
        "an old timestamp: the orphan answers and is not restarted",
        EXPIRES,
        paws,
    ),
    Scenario::new("fin_wait2_then_fin6", 8065, "the FIN comes 5.3 s late, IPv6", VIA_FIN_WAIT2, then_fin6),
    Scenario::new(
        "fin_wait2_full_first",
        8066,
        "tcp_fin_timeout above 60 s: the orphan is a full socket for as long as that is more",
        EXPIRES,
        full_first,
    ),
    Scenario::new(
        "fin_wait2_reused",
        8067,
        "bind() and connect() take the port of an orphan",
        REUSED,
        reused,
    ),
    Scenario::new(
        "fin_wait2_reused_by_choice",
        8069,
        "connect() chooses the port of an orphan",
        REUSED,
        reused_by_choice,
    ),
    Scenario::new(
        "fin_wait2_fin_at_once",
        8068,
        "ACK and FIN come one right behind the other",
        VIA_FIN_WAIT2,
        fin_at_once,
    )
    .differs(HIDDEN_AT_ONCE),
];

const HIDDEN_AT_ONCE: &[Difference] = &[
    HIDDEN_FLIP[0],
    Difference {
        when: When::Backend(Backend::Tracepoint),
        why: "a FIN within the jiffy of the ACK shows no time in FIN_WAIT2",
        rules: &[Rule::Varies { event: "tw_exit", key: "fin_wait2_ns" }],
    },
];

const RESET_SENT: Expect = Expect { ended: Some((1, "reset_sent")), ..FIN_WAIT2_ONLY };
const EXPIRES: Expect = FIN_WAIT2_ONLY;
const REUSED: Expect = Expect {
    connections: 2,
    began: 2,
    time_wait: 1,
    recycled: 1,
    ended: Some((1, "reused")),
    ..FIN_WAIT2_ONLY
};
const FIN_TIMEOUT: &str = "net/ipv4/tcp_fin_timeout";

/// The kernel answers in the old connection's name.
fn syn(scene: &mut Scene) -> Result<()> {
    with_orphan(scene, V4, |peer| {
        peer.next = peer.next.wrapping_add(50_000);
        peer.say(Say::Syn)?;
        peer.hear("RST", |tcp| tcp.rst).map(drop)
    })
}

fn data6(scene: &mut Scene) -> Result<()> {
    with_orphan(scene, V6, |peer| {
        peer.say(Say::Data(b"late"))?;
        peer.hear("RST", |tcp| tcp.rst).map(drop)
    })
}

fn killed(scene: &mut Scene) -> Result<()> {
    with_orphan(scene, V4, |peer| {
        let (local, remote) = peer.kernel_ends();
        sock_diag::kill_time_wait(local, remote)
    })
}

fn bare_ack(scene: &mut Scene) -> Result<()> {
    sysctl(FIN_TIMEOUT, "3")?;
    with_orphan(scene, V4, |peer| {
        sleep(Duration::from_secs(1));
        peer.say(Say::Ack)?;
        peer.hear_nothing()
    })
}

fn paws(scene: &mut Scene) -> Result<()> {
    sysctl(FIN_TIMEOUT, "3")?;
    with_orphan(scene, V4, |peer| {
        sleep(Duration::from_secs(1));
        let old = peer.segment(Say::FinAck)?.with_old_timestamp().context("no timestamps")?;
        peer.inject(&old)?;
        peer.hear("ACK", |tcp| tcp.ack).map(drop)
    })
}

fn then_fin6(scene: &mut Scene) -> Result<()> {
    with_orphan(scene, V6, |peer| {
        sleep(PAST_ONE_GRANULE);
        peer.say(Say::FinAck)?;
        peer.hear("the last ACK", |tcp| tcp.ack).map(drop)
    })
}

fn fin_at_once(scene: &mut Scene) -> Result<()> {
    with_orphan(scene, V4, |peer| {
        peer.say(Say::FinAck)?;
        peer.hear("the last ACK", |tcp| tcp.ack).map(drop)
    })
}

/// The keepalive timer of the full socket takes what is above 60 s; the mini-socket then lives for it again.
fn full_first(scene: &mut Scene) -> Result<()> {
    sysctl(FIN_TIMEOUT, "62")?;
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    let (stream, mut peer) = Peer::of_client(&mirror, V4, scene.port)?;
    drop(stream);
    peer.hear("FIN", |tcp| tcp.fin)?;
    peer.say(Say::Ack)?;
    ensure!(living()? == 0, "the orphan is a mini-socket at once");
    time_waits(1)
}

/// After bind() connect() takes FIN_WAIT2 for TIME_WAIT.
fn reused(scene: &mut Scene) -> Result<()> {
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    let mut peer = orphan(&mirror, scene, V4)?;
    let (local, remote) = peer.kernel_ends();
    let again = start_connect_from(local, remote)?;
    peer.answer()?;
    close_first(again, &mut peer)
}

/// Until 6.12 it did without bind() too.
fn reused_by_choice(scene: &mut Scene) -> Result<()> {
    const A_SECOND: Duration = Duration::from_millis(1_200);
    sysctl("net/ipv4/tcp_tw_reuse", "1")?;
    sysctl("net/ipv4/ip_local_port_range", "20001 20001")?;
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    let mut peer = orphan(&mirror, scene, V4)?;
    sleep(A_SECOND);
    let again = match start_connect(peer.kernel_ends().1) {
        Err(error) if error.downcast_ref::<Errno>() == Some(&Errno::EADDRNOTAVAIL) => {
            // Ends the orphan, which nothing else would within the minute.
            peer.say(Say::Rst)?;
            let why = "connect() does not choose the port of a FIN_WAIT2 socket on this kernel (6.12, and what took that over)";
            return Err(Lacking(why.to_owned()).into());
        }
        other => other?,
    };
    peer.answer()?;
    close_first(again, &mut peer)
}

fn with_orphan(scene: &Scene, family: Family, work: impl Fn(&mut Peer<'_>) -> Result<()>) -> Result<()> {
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    work(&mut orphan(&mirror, scene, family)?)
}

/// The peer of a client that is closed and whose FIN the peer has acknowledged.
pub(super) fn orphan<'m>(mirror: &'m Mirror, scene: &Scene, family: Family) -> Result<Peer<'m>> {
    let (stream, mut peer) = Peer::of_client(mirror, family, scene.port)?;
    drop(stream);
    peer.hear("FIN", |tcp| tcp.fin)?;
    peer.say(Say::Ack)?;
    time_waits(1)?;
    Ok(peer)
}

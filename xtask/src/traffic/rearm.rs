//! Segments that reach a TIME_WAIT and restart its clock.

use std::io::Read;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::await_kernel::SILENCE;
use super::difference::{Difference, Rule, When};
use super::expect::{Expect, ONE};
use super::handshake::close_first;
use super::mirror::Family::{self, V4, V6};
use super::mirror::Mirror;
use super::packet::Packet;
use super::peer::{Peer, Say};
use super::scenario::Scenario;
use super::scene::Scene;
use super::tcp::{CLIENT_COMM, act_as};
use crate::backend::Backend;

/// How a re-arm is told by a backend that does not see the segment.
macro_rules! unknown_cause {
    ($cause:literal) => {
        Difference {
            when: When::Backend(Backend::Tracepoint),
            why: "trace events do not carry the segment",
            rules: &[Rule::Told { event: "tw_rearm", key: "cause", golden: $cause, here: "unknown" }],
        }
    };
}

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "rearm_late_segment",
        8022,
        "the server's FIN comes again",
        Expect { rearm: Some("late_segment"), ..ONE },
        late_segment,
    )
    .differs(&[unknown_cause!("late_segment")]),
    Scenario::new(
        "rearm_ack",
        8023,
        "a bare ACK inside the window comes late",
        Expect { rearm: Some("ack"), ..ONE },
        ack,
    )
    .differs(&[unknown_cause!("ack")]),
    Scenario::new(
        "rearm_paws",
        8024,
        "a segment with an old timestamp comes late",
        Expect { rearm: Some("paws"), ..ONE },
        paws,
    )
    .differs(&[unknown_cause!("paws")]),
    Scenario::new(
        "rearm_late_data",
        8080,
        "data that was acknowledged long ago comes again",
        Expect { rearm: Some("late_segment"), ..ONE },
        late_data,
    )
    .differs(&[unknown_cause!("late_segment")]),
    Scenario::new(
        "rearm_late_segment6",
        8081,
        "the peer's FIN comes again, IPv6",
        Expect { rearm: Some("late_segment"), ..ONE },
        late_segment6,
    )
    .differs(&[unknown_cause!("late_segment")]),
    Scenario::new(
        "rearm_twice",
        8082,
        "the peer's FIN comes again, and 5.3 s later again",
        Expect { rearm: Some("late_segment"), ..ONE },
        twice,
    )
    .differs(&[unknown_cause!("late_segment")]),
    Scenario::new("rearm_soon", 8083, "the peer's FIN comes again at once", ONE, soon).differs(&[Difference {
        when: When::Backend(Backend::Tracepoint),
        why: "a timer that is restarted within its wheel slot fires no event: found at the exit, dated to a jiffy",
        rules: &[
            Rule::Told { event: "tw_rearm", key: "cause", golden: "late_segment", here: "unknown" },
            Rule::MayMiss { event: "tw_rearm", key: "cause", value: "unknown" },
            Rule::Varies { event: "tw_exit", key: "rearm_hidden" },
        ],
    }]),
    Scenario::new(
        "no_rearm_old_syn",
        8084,
        "an old SYN comes again: without ACK it does not restart the clock",
        ONE,
        old_syn,
    ),
];

/// Longer than one granule of the timer wheel at any HZ: a re-arm within the same granule moves nothing, and
/// the kernel then fires no timer event.
pub(super) const PAST_ONE_GRANULE: Duration = Duration::from_millis(5_300);

/// The server's FIN once more, as if our last ACK had been lost.
fn late_segment(scene: &mut Scene) -> Result<()> {
    rearm(scene, |fin| Some(fin.clone()))
}

/// A bare ACK inside the window.
fn ack(scene: &mut Scene) -> Result<()> {
    rearm(scene, |fin| Some(fin.ack_behind_fin()))
}

/// A segment whose timestamp lies before the last one seen.
fn paws(scene: &mut Scene) -> Result<()> {
    rearm(scene, Packet::with_old_timestamp)
}

/// Its sequence number is old, its timestamp is not: that would make it PAWS's business.
fn late_data(scene: &mut Scene) -> Result<()> {
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    let (stream, mut peer) = Peer::of_client(&mirror, V4, scene.port)?;
    let data = Say::Data(b"once and again");
    let first = peer.next;
    peer.say(data)?;
    peer.hear("ACK", |tcp| tcp.ack)?;
    // Unread data would make close() an RST.
    ensure!((&stream).read(&mut [0; 64])? == 14, "the data did not arrive");
    close_first(stream, &mut peer)?;
    sleep(PAST_ONE_GRANULE);
    peer.say_altered(data, |again| again.tcp.sequence_number = first)?;
    peer.hear("ACK", |tcp| tcp.ack).map(drop)
}

fn late_segment6(scene: &mut Scene) -> Result<()> {
    fin_again(scene, V6, &[PAST_ONE_GRANULE])
}

fn twice(scene: &mut Scene) -> Result<()> {
    fin_again(scene, V4, &[PAST_ONE_GRANULE, PAST_ONE_GRANULE])
}

fn soon(scene: &mut Scene) -> Result<()> {
    fin_again(scene, V4, &[Duration::from_millis(300)])
}

/// The peer sends its FIN again after each of these pauses; each time the kernel acknowledges it.
fn fin_again(scene: &Scene, family: Family, pauses: &[Duration]) -> Result<()> {
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    let (stream, mut peer) = Peer::of_client(&mirror, family, scene.port)?;
    drop(stream);
    peer.hear("FIN", |tcp| tcp.fin)?;
    let fin = peer.segment(Say::FinAck)?;
    peer.say_as(&fin)?;
    peer.hear("the last ACK", |tcp| tcp.ack)?;
    for pause in pauses {
        sleep(*pause);
        peer.inject(&fin)?;
        peer.hear("ACK of the FIN that came again", |tcp| tcp.ack)?;
    }
    Ok(())
}

fn old_syn(scene: &mut Scene) -> Result<()> {
    act_as(CLIENT_COMM)?;
    let mirror = Mirror::open()?;
    let (stream, mut peer) = Peer::of_client(&mirror, V4, scene.port)?;
    close_first(stream, &mut peer)?;
    sleep(PAST_ONE_GRANULE);
    peer.say_altered(Say::Syn, |syn| syn.tcp.sequence_number = syn.tcp.sequence_number.wrapping_sub(50_000))?;
    peer.hear("ACK", |tcp| tcp.ack && !tcp.rst).map(drop)
}

/// Brings the clients into TIME_WAIT, then gives each a segment made from its peer's FIN.
fn rearm(scene: &mut Scene, segment: fn(&Packet) -> Option<Packet>) -> Result<()> {
    let mirror = Mirror::open()?;
    let mut fins = Vec::new();
    for _ in 0..scene.count {
        fins.push(mirror.close_client_first(mirror.pair(V4, scene.port)?)?);
    }
    sleep(PAST_ONE_GRANULE);
    for fin in fins {
        mirror.give(&segment(&fin).context("the peer's FIN carries no timestamp")?)?;
        // What the kernel answers goes nowhere: the server is gone.
        mirror.take_within(SILENCE)?;
    }
    Ok(())
}

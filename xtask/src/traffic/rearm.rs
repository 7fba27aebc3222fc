//! Segments that reach a TIME_WAIT and restart its clock.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

use super::difference::{Difference, Rule, When};
use super::expect::{Expect, ONE};
use super::mirror::{Family, Mirror};
use super::packet::Packet;
use super::scenario::Scenario;
use super::scene::Scene;

/// How a re-arm is told by a backend that does not see the segment.
macro_rules! unknown_cause {
    ($cause:literal) => {
        Difference {
            when: When::Backend("tracepoint"),
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

/// Brings the clients into TIME_WAIT, then gives each a segment made from its peer's FIN.
fn rearm(scene: &mut Scene, segment: fn(&Packet) -> Option<Packet>) -> Result<()> {
    let mirror = Mirror::open()?;
    let mut fins = Vec::new();
    for _ in 0..scene.count {
        fins.push(mirror.close_client_first(mirror.pair(Family::V4, scene.port)?)?);
    }
    sleep(PAST_ONE_GRANULE);
    for fin in fins {
        mirror.give(&segment(&fin).context("the peer's FIN carries no timestamp")?)?;
        // What the kernel answers goes nowhere: the server is gone.
        mirror.take()?;
    }
    Ok(())
}

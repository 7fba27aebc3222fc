//! Segments that reach a TIME_WAIT and restart its clock.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

use super::mirror::{Family, Mirror};
use super::packet::Packet;
use super::scenario::Seen;

/// Longer than one granule of the timer wheel at any HZ: a re-arm within the same granule moves nothing, and
/// the kernel then fires no timer event.
pub(super) const PAST_ONE_GRANULE: Duration = Duration::from_millis(5_300);

/// The server's FIN once more, as if our last ACK had been lost.
pub(super) fn late_segment(port: u16, count: u32) -> Result<Seen> {
    rearm(port, count, |fin| Some(fin.clone()))
}

/// A bare ACK inside the window.
pub(super) fn ack(port: u16, count: u32) -> Result<Seen> {
    rearm(port, count, |fin| Some(fin.ack_behind_fin()))
}

/// A segment whose timestamp lies before the last one seen.
pub(super) fn paws(port: u16, count: u32) -> Result<Seen> {
    rearm(port, count, Packet::with_old_timestamp)
}

/// Brings `count` clients into TIME_WAIT, then gives each a segment made from its peer's FIN.
fn rearm(port: u16, count: u32, segment: fn(&Packet) -> Option<Packet>) -> Result<Seen> {
    let mirror = Mirror::open()?;
    let mut fins = Vec::new();
    for _ in 0..count {
        fins.push(mirror.close_client_first(mirror.pair(Family::V4, port)?)?);
    }
    sleep(PAST_ONE_GRANULE);
    for fin in fins {
        mirror.give(&segment(&fin).context("the peer's FIN carries no timestamp")?)?;
        // What the kernel answers goes nowhere: the server is gone.
        mirror.take()?;
    }
    Ok(Seen::default())
}

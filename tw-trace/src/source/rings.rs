//! The ring buffers of all CPUs as one stream, in the order of time.

use anyhow::{Context as _, Result};

use super::ring::Ring;
use crate::decode::{Record, decode, mono_ns};

pub struct Rings {
    rings: Vec<Ring>,
    /// When the next record of each was made; [`NONE`] where there is none to be taken.
    next_ns: Vec<u64>,
}

const NONE: u64 = u64::MAX;

impl Rings {
    pub fn new(rings: Vec<Ring>) -> Self {
        Self { next_ns: vec![NONE; rings.len()], rings }
    }

    /// Hands over at most `most` records that were made before `until_ns` (CLOCK_MONOTONIC); returns how many. What
    /// `each` fails on counts as taken.
    ///
    /// A ring that stands still for a moment must not be overtaken by the others: `until_ns` lies a little in the
    /// past, when every record of before has come to its place.
    pub fn drain(
        &mut self,
        most: usize,
        until_ns: u64,
        mut each: impl FnMut(&Record) -> Result<()>,
    ) -> Result<usize> {
        for (ring, next_ns) in self.rings.iter_mut().zip(&mut self.next_ns) {
            *next_ns = look(ring, until_ns);
        }
        let mut taken = 0;
        let result = loop {
            let Some((earliest, _)) =
                self.next_ns.iter().enumerate().filter(|(_, ns)| **ns != NONE).min_by_key(|(_, ns)| **ns)
            else {
                break Ok(taken);
            };
            if taken == most {
                break Ok(taken);
            }
            let ring = &mut self.rings[earliest];
            let outcome = ring.peek().map_or(Ok(()), |bytes| {
                each(&decode(bytes).context("the kernel side sent a record that cannot be read")?)
            });
            ring.advance();
            taken += 1;
            if let Err(error) = outcome {
                break Err(error);
            }
            self.next_ns[earliest] = look(ring, until_ns);
        };
        self.rings.iter_mut().for_each(Ring::publish);
        result
    }
}

/// When the ring's next record was made, if that is before `until_ns`. What is no record is handed over at once, to be
/// refused.
fn look(ring: &mut Ring, until_ns: u64) -> u64 {
    match ring.peek() {
        Some(bytes) => match mono_ns(bytes) {
            Some(ns) if ns >= until_ns => NONE,
            Some(ns) => ns,
            None => 0,
        },
        None => NONE,
    }
}

//! What a kernel or a backend forces to be told otherwise than the golden has it: declared beside the scenario.

use super::capability::Capability;
use crate::backend::Backend;

/// One forced difference, and why it cannot be helped.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    pub when: When,
    pub why: &'static str,
    pub rules: &'static [Rule],
}

/// Where a difference is forced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Backend(Backend),
    /// On kernels that lack this.
    Without(Capability),
}

/// How the events differ from the golden. Values are written as in a golden, strings without their quotes.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Where the golden has `golden` as this key's value, `here` is told.
    Told { event: &'static str, key: &'static str, golden: &'static str, here: &'static str },
    /// Events of this kind that have this value are not told.
    Missing { event: &'static str, key: &'static str, value: &'static str },
    /// They may be told or not: that depends on where on the timer wheel the run began.
    MayMiss { event: &'static str, key: &'static str, value: &'static str },
    /// This key's value depends on where on the timer wheel the run began.
    Varies { event: &'static str, key: &'static str },
}

//! What a scenario works with while it runs, and what it tells of itself beyond its expectations.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use anyhow::Result;

/// One run of one scenario, in the calling thread's network namespace.
pub struct Scene {
    /// The port that is listened on: every connection of the scenario has it at one end.
    pub(super) port: u16,
    /// Repetitions.
    pub(super) count: u32,
    /// Sockets that TCP_INFO showed in CLOSING.
    pub(super) closing: u32,
    /// Processes that are not the scenario's own one, by the name they have in a golden.
    pub cast: Vec<(u32, &'static str)>,
    /// Further network namespaces, by inode, and their names.
    pub namespaces: Vec<(u32, &'static str)>,
    /// Further cgroups, by path, and their names.
    pub cgroups: Vec<(String, &'static str)>,
    /// Why this run proves nothing: a busy machine let a deadline pass.
    pub disturbed: Option<String>,
    kept: Vec<Box<dyn Any>>,
    cue: Option<Box<dyn FnMut() -> Result<()>>>,
}

/// The kernel's shortest delay of an ACK (TCP_DELACK_MIN, HZ/25). Later than that, the ACK of a FIN goes out
/// alone, and the end that closed first becomes a FIN_WAIT2 mini-socket on its way.
const ACK_DELAY: Duration = Duration::from_millis(40);

impl Scene {
    pub(super) fn new(port: u16, count: u32) -> Self {
        Self {
            port,
            count,
            closing: 0,
            cast: Vec::new(),
            namespaces: Vec::new(),
            cgroups: Vec::new(),
            disturbed: None,
            kept: Vec::new(),
            cue: None,
        }
    }

    /// Keeps something until no time-wait socket of the scenario is left.
    pub(super) fn keep(&mut self, what: impl Any) {
        self.kept.push(Box::new(what));
    }

    /// What to do when a scenario that begins before the tracer is ready for it.
    pub fn on_cue(&mut self, cue: impl FnMut() -> Result<()> + 'static) {
        self.cue = Some(Box::new(cue));
    }

    /// Waits until the tracer watches; nothing to wait for when there is none to come.
    pub(super) fn wait_for_tracer(&mut self) -> Result<()> {
        self.cue.as_mut().map_or(Ok(()), |cue| cue())
    }

    /// Both ends closed within this time: long enough for the first FIN to be acknowledged on its own?
    pub(super) fn closed_within(&mut self, time: Duration) {
        // Half of it: the timer may have been running before the first close().
        if time >= ACK_DELAY / 2 {
            self.disturbed = Some(format!("the second close() came {time:?} after the first"));
        }
    }
}

/// The kernel cannot do what a scenario is about: not a failure, and not a pass either.
#[derive(Debug)]
pub struct Lacking(pub String);

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Lacking {}

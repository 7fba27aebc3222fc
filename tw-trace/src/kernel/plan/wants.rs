//! What a view needs to be told.

use tw_trace_common::event::Kind;

use super::Serves;

/// What a view wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants(pub u16);

impl Wants {
    /// Everything that any of these kinds of record needs.
    pub fn kinds(kinds: &[Kind]) -> Self {
        Self(kinds.iter().fold(0, |mask, kind| mask | kind.bit()))
    }

    pub fn states(self) -> bool {
        self.0 & Kind::State.bit() != 0
    }

    pub fn time_waits(self) -> bool {
        self.0 & !Kind::State.bit() != 0
    }

    pub(super) fn needs(self, serves: Serves) -> bool {
        match serves {
            Serves::States => self.0 != 0,
            Serves::Ends | Serves::Armings | Serves::Seeds => self.time_waits(),
            Serves::Causes => self.0 & Kind::TwRearm.bit() != 0,
            Serves::Overflows => self.0 & Kind::TwOverflow.bit() != 0,
        }
    }
}

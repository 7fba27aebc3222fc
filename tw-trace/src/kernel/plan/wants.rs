//! What a view needs to be told.

use tw_trace_common::event::Kind;

use super::Serves;

/// What a view wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants(pub u16);

/// The wheel view: beside the bits of the kinds of record.
const WHEEL: u16 = 1 << 15;
/// Nobody asks whose a connection is, beside them too.
const OWNERLESS: u16 = 1 << 14;

impl Wants {
    /// Timers by bucket, nothing else.
    pub const WHEEL: Self = Self(WHEEL);

    /// Everything that any of these kinds of record needs.
    pub const fn kinds(kinds: &[Kind]) -> Self {
        let (mut mask, mut index) = (0, 0);
        while index < kinds.len() {
            mask |= kinds[index].bit();
            index += 1;
        }
        Self(mask)
    }

    /// The same without the owners of time-wait sockets.
    #[must_use]
    pub const fn without_owners(self) -> Self {
        Self(self.0 | OWNERLESS)
    }

    pub fn states(self) -> bool {
        self.0 & Kind::State.bit() != 0
    }

    pub fn time_waits(self) -> bool {
        self.0 & !(Kind::State.bit() | OWNERLESS) != 0
    }

    pub(super) fn needs(self, serves: Serves) -> bool {
        let of_records = self.0 & !(WHEEL | OWNERLESS);
        match serves {
            Serves::Wheel => self.0 & WHEEL != 0,
            Serves::States if self.0 & OWNERLESS != 0 => self.states(),
            Serves::States => of_records != 0,
            Serves::NestedStates => self.states(),
            Serves::Ends | Serves::Armings | Serves::Seeds => of_records & !Kind::State.bit() != 0,
            Serves::Causes => self.0 & Kind::TwRearm.bit() != 0,
            Serves::Overflows => self.0 & Kind::TwOverflow.bit() != 0,
        }
    }
}

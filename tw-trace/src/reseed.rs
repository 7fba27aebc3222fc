//! Time-wait sockets that were lost for want of room, looked for again as soon as there is some.

use anyhow::Result;
use tw_trace_common::{
    counter::{COUNT, Counter},
    followed::Ledger,
};

use crate::{
    begin::{Duties, Ending},
    kernel::{load::Loaded, prepare::Resolved},
    stop::Stop,
    warning::Warning,
};

/// What is known of sockets that were lost.
#[derive(Debug)]
pub struct Reseeding {
    /// Time-wait sockets that can be followed at once.
    room: u32,
    /// At the last look.
    lost: u64,
    /// When they were last looked for.
    looked_for: u64,
}

impl Reseeding {
    pub const fn new(room: u32) -> Self {
        Self { room, lost: 0, looked_for: 0 }
    }

    /// To be asked every second, with what the kernel side counted: once sockets were lost, no more are being lost, and
    /// there is room, the iterator seeds those that are still there. Says so.
    pub fn look(
        &mut self,
        counters: &[u64; COUNT as usize],
        loaded: &mut Loaded,
        kernel: &Resolved,
        ending: &mut Ending,
        stop: &Stop,
        duties: Duties,
    ) -> Result<()> {
        let lost = without_room(counters);
        let goes_on = lost != self.lost;
        self.lost = lost;
        if goes_on || lost == self.looked_for {
            return Ok(());
        }
        let before = loaded.whole_ledger()?;
        if !has_room(&before, self.room) {
            return Ok(());
        }
        for why in ending.seed_again(loaded, kernel, stop, duties)? {
            Warning::SeedIncomplete { why }.tell();
        }
        let after = loaded.whole_ledger()?;
        if has_room(&after, self.room) {
            // All that are still there are followed now; else there is more to look for later.
            self.looked_for = lost;
        }
        Warning::Reseeded { found: after.seeded - before.seeded }.tell();
        Ok(())
    }
}

fn without_room(counters: &[u64; COUNT as usize]) -> u64 {
    [Counter::TwMapFull, Counter::SeedMapFull].iter().map(|&counter| counters[counter as usize]).sum()
}

/// Whether a quarter of the map is free: what is found must not push out what comes.
fn has_room(ledger: &Ledger, room: u32) -> bool {
    ledger.living().saturating_mul(4) <= u64::from(room) * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_the_living_leave() {
        let ledger = Ledger { seeded: 10, entered: 200, untracked: 110, ..Ledger::ZERO };
        assert!(!has_room(&ledger, 100));
        let ledger = Ledger { exited: [0, 0, 0, 0, 0, 0, 0, 25], ..ledger };
        assert!(has_room(&ledger, 100));
    }

    #[test]
    fn only_sockets_without_room_are_looked_for() {
        let mut counters = [0; COUNT as usize];
        counters[Counter::RingState as usize] = 5;
        counters[Counter::ExitMissed as usize] = 5;
        assert_eq!(without_room(&counters), 0);
        counters[Counter::TwMapFull as usize] = 3;
        assert_eq!(without_room(&counters), 3);
    }
}

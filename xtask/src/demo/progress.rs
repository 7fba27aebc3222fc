//! How far the demo is, on standard error: one line kept up to date on a terminal, else one every ten seconds.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use super::tally::Tally;

pub(super) struct Progress {
    start: Instant,
    next: Instant,
    every: Duration,
    terminal: bool,
}

impl Progress {
    pub(super) fn new(start: Instant) -> Self {
        let terminal = stderr().is_terminal();
        let every = Duration::from_secs(if terminal { 1 } else { 10 });
        Self { start, next: start + Duration::from_secs(2), every, terminal }
    }

    /// Says where things are, if it is time to.
    pub(super) fn tell(&mut self, tally: &Tally) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next += self.every;
        let (living, expired) = (tally.living(), tally.expired());
        let seconds = (now - self.start).as_secs();
        let line = format!("{seconds:3} s: {living} sockets in TIME_WAIT, {expired} expired so far");
        if self.terminal {
            eprint!("\r{line} {} ", bar(expired, living));
            let _ = stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }

    /// Leaves the line.
    pub(super) fn done(&self) {
        if self.terminal {
            eprintln!();
        }
    }
}

/// The expired part of all that expire.
fn bar(expired: u32, living: u32) -> String {
    const WIDTH: u32 = 30;
    let filled = WIDTH * expired / (expired + living).max(1);
    format!("[{}{}]", "#".repeat(filled as usize), ".".repeat((WIDTH - filled) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills() {
        assert_eq!(bar(0, 0).matches('#').count(), 0);
        assert_eq!(bar(10, 10).matches('#').count(), 15);
        assert_eq!(bar(7, 0).matches('#').count(), 30);
    }
}

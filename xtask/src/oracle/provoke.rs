//! Timers of every level of the wheel, made by asking for timeouts: all are taken back long before they fire.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use nix::sys::socket::{setsockopt, sockopt};

use super::modern::{Wheel, granularity};

/// Of a round: few enough for the ring buffer, and so that their number can follow from what they came to.
const WAITS: u32 = 1_000;
const KEEPALIVES: u32 = 4_000;

/// `MAX_TCP_KEEPIDLE`, in seconds (include/net/tcp.h).
const LONGEST_KEEPIDLE: u64 = 32_767;

pub(super) struct Provoker {
    delays: Delays,
    waiting: UnixStream,
    partner: JoinHandle<Result<()>>,
    idle: TcpStream,
    /// Keeps the connection open.
    _peer: TcpStream,
}

impl Provoker {
    /// Its connection is in the calling thread's network namespace.
    pub(super) fn new(wheel: Wheel, tick: Duration) -> Result<Self> {
        let (waiting, other) = UnixStream::pair().context("making a pair of sockets")?;
        let delays = |seed| Delays { wheel, tick, random: Random(seed) };
        let of_partner = delays(2);
        let partner = thread::spawn(move || answer(other, of_partner));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening on loopback")?;
        let idle = TcpStream::connect(listener.local_addr()?).context("connecting over loopback")?;
        let (peer, _) = listener.accept().context("accepting over loopback")?;
        setsockopt(&idle, sockopt::KeepAlive, &true).context("SO_KEEPALIVE")?;
        Ok(Self { delays: delays(1), waiting, partner, idle, _peer: peer })
    }

    pub(super) fn round(&mut self) -> Result<()> {
        for _ in 0..WAITS {
            self.waiting.write_all(b"?").context("asking the partner")?;
            wait(&mut self.waiting, &mut self.delays).context("waiting for the partner")?;
        }
        for _ in 0..KEEPALIVES {
            // Restarts the keepalive timer: one system call, one timer.
            let magnitude = 1 + self.delays.random.below(15);
            let seconds = 1 + self.delays.random.below(1 << magnitude) % LONGEST_KEEPIDLE;
            setsockopt(&self.idle, sockopt::TcpKeepIdle, &(seconds as u32)).context("TCP_KEEPIDLE")?;
        }
        Ok(())
    }

    pub(super) fn end(self) -> Result<()> {
        drop(self.waiting);
        self.partner.join().map_err(|_| anyhow!("the partner panicked"))?
    }
}

/// Answers until there is nobody left to.
fn answer(mut other: UnixStream, mut delays: Delays) -> Result<()> {
    while wait(&mut other, &mut delays).context("waiting to be asked")? {
        match other.write_all(b"!") {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            done => done.context("answering")?,
        }
    }
    Ok(())
}

/// Reads a byte, with a timeout: a timer that is taken back when the byte comes. False at the end.
fn wait(stream: &mut UnixStream, delays: &mut Delays) -> Result<bool> {
    loop {
        stream.set_read_timeout(Some(delays.next())).context("SO_RCVTIMEO")?;
        match stream.read(&mut [0]) {
            Ok(length) => return Ok(length > 0),
            // Of the shortest, some fire.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Delays for all levels alike, many at their edges.
struct Delays {
    wheel: Wheel,
    tick: Duration,
    random: Random,
}

impl Delays {
    fn next(&mut self) -> Duration {
        let jiffies = self.jiffies();
        let nanos = u128::from(jiffies) * self.tick.as_nanos();
        Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32)
    }

    fn jiffies(&mut self) -> u64 {
        let levels = self.wheel.levels();
        let kind = self.random.below(u64::from(levels) + 1) as u8;
        let edge = |level| 63 * granularity(level);
        let least = if kind == 0 { 1 } else { edge(kind - 1) };
        // Behind the last level there is no end.
        let end = if kind == levels { edge(levels + 4) } else { edge(kind) };
        match self.random.below(4) {
            0 => least + self.random.below(4),
            1 => end - 1 - self.random.below(4),
            _ => least + self.random.below(end - least),
        }
    }
}

/// xorshift: random enough, and the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_of_all_levels_and_beyond() {
        for (hz, tick) in [(100, 10), (250, 4)] {
            let wheel = Wheel::new(hz);
            let mut delays = Delays { wheel, tick: Duration::from_millis(tick), random: Random(1) };
            let mut counts = vec![0; usize::from(wheel.levels()) + 1];
            for _ in 0..10_000 {
                let jiffies = delays.jiffies();
                assert!(jiffies > 0);
                let kind = if jiffies < wheel.cutoff() { wheel.level(jiffies) } else { wheel.levels() };
                counts[usize::from(kind)] += 1;
            }
            assert!(counts.iter().all(|&count| count > 600), "{counts:?}");
        }
    }
}

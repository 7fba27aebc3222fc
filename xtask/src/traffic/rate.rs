//! As many connections as the machine gives: one request, one response, the client closes first.
//!
//! Each pair of threads (one client, one server) has a port of its own. The destination address moves on
//! through 127.0.0.0/8 before the ephemeral ports of one 4-tuple run short, so each connection leaves one
//! TIME_WAIT on the client's side and none is taken over. Raw system calls, nothing allocated on the way.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::counters::{Counters, living};
use super::rate_socket::{Listener, Stream};
use super::tcp::{CLIENT_COMM, act_as};

/// The first pair's port; the next pair has the next one.
pub const FIRST_PORT: u16 = 9001;
/// Connections before the destination address moves on: connect() goes through the even ports of the range in
/// steps of 2 or 4, so it comes round to ports in TIME_WAIT after some 14,000 at the earliest.
const PER_ADDRESS: u32 = 5_000;
/// More pairs than this would leave the ports below the ephemeral range.
pub const MAX_PAIRS: u32 = 64;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub connections: u32,
    /// Client and server threads, of each this many.
    pub pairs: u32,
    /// Connections a pair has open at a time.
    pub batch: u32,
    /// Connections a second over all pairs; none: as fast as it goes.
    pub per_second: Option<u32>,
    /// Connections that were made before in this namespace: theirs are other addresses.
    pub first: u32,
}

/// What was done.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub connections: u32,
    pub elapsed: Duration,
    /// CPU time of this process, user and kernel.
    pub cpu: Duration,
    pub counted: Counters,
    /// Time-wait sockets alive at the end.
    pub living: u64,
}

impl Report {
    pub fn per_second(&self) -> f64 {
        f64::from(self.connections) / self.elapsed.as_secs_f64()
    }

    pub fn to_json(&self) -> Value {
        json!({
            "connections": self.connections,
            "seconds": self.elapsed.as_secs_f64(),
            "per_second": self.per_second(),
            "cpu_us_per_connection": self.cpu.as_secs_f64() * 1e6 / f64::from(self.connections.max(1)),
            "tcpext": self.counted.to_json(),
            "sockstat_tw": self.living,
        })
    }
}

/// Runs the load in the calling thread's network namespace.
pub fn run(load: &Load) -> Result<Report> {
    // Once, before there are threads: the name is the whole process's.
    act_as(CLIENT_COMM)?;
    let before = Counters::read()?;
    let cpu_before = cpu_time()?;
    let start = Instant::now();
    let work = Work::of(load);
    let pairs = (0..load.pairs).map(Pair::open).collect::<Result<Vec<_>>>()?;
    thread::scope(|scope| -> Result<()> {
        let mut threads = Vec::new();
        for pair in &pairs {
            threads.push(scope.spawn(|| serve(pair, &work)));
            threads.push(scope.spawn(|| dial(pair, &work)));
        }
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
    })?;
    drop(pairs);
    let elapsed = start.elapsed();
    let cpu = cpu_time()?.saturating_sub(cpu_before);
    let counted = Counters::read()?.since(&before);
    Ok(Report { connections: load.connections, elapsed, cpu, counted, living: living()? })
}

/// What the pairs have in common: each takes the next batch when it is done with one, so that a pair whose CPU
/// has other work to do does not keep the whole waiting.
struct Work {
    first: u32,
    connections: u32,
    batch: u32,
    /// Between the starts of two batches of a pair; zero: none.
    pause: Duration,
    /// Number of the next connection.
    next: AtomicU32,
    /// Nobody dials before all servers are there to answer.
    ready: Barrier,
}

impl Work {
    fn of(load: &Load) -> Self {
        let batch = load.batch.max(1);
        let pause = load
            .per_second
            .map_or(Duration::ZERO, |rate| Duration::from_secs(1) * batch * load.pairs / rate.max(1));
        Self {
            // Addresses are not shared: the ports of one are used in turn.
            first: load.first.next_multiple_of(PER_ADDRESS),
            connections: load.connections,
            batch,
            pause,
            next: AtomicU32::new(0),
            ready: Barrier::new(2 * load.pairs as usize),
        }
    }

    /// The numbers of the connections of the next batch.
    fn take(&self) -> Option<Range<u32>> {
        let first = self.next.fetch_add(self.batch, Ordering::Relaxed);
        (first < self.connections).then(|| first..self.connections.min(first + self.batch))
    }
}

/// Where one pair works.
struct Pair {
    listener: Listener,
    port: u16,
    /// Where both threads stay: a wake-up across CPUs costs more than a connection, and the scheduler's choice
    /// would double or halve the rate from run to run.
    cpu: usize,
}

impl Pair {
    fn open(number: u32) -> Result<Self> {
        let port = FIRST_PORT + number as u16;
        Ok(Self { listener: Listener::open(port)?, port, cpu: number as usize })
    }
}

fn dial(pair: &Pair, work: &Work) -> Result<()> {
    let result = dial_all(pair, work);
    // The server has nobody to wait for any more, whatever happened.
    pair.listener.stop()?;
    result
}

fn dial_all(pair: &Pair, work: &Work) -> Result<()> {
    stay_on(pair.cpu)?;
    let mut open: Vec<Stream> = Vec::with_capacity(work.batch as usize);
    work.ready.wait();
    let mut next = Instant::now();
    while let Some(batch) = work.take() {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += work.pause;
        for (number, behind) in batch.clone().zip((0..batch.len()).rev()) {
            let stream = Stream::connect(destination(work.first + number), pair.port).context("connect")?;
            // How many of the batch come after it: the server then knows its end.
            stream.send(behind as u8).context("sending the request")?;
            open.push(stream);
        }
        for stream in open.drain(..) {
            stream.receive().context("waiting for the response")?;
        }
    }
    Ok(())
}

fn serve(pair: &Pair, work: &Work) -> Result<()> {
    stay_on(pair.cpu)?;
    let mut open: Vec<Stream> = Vec::with_capacity(work.batch as usize);
    work.ready.wait();
    while let Some(stream) = pair.listener.accept().context("accept")? {
        let behind = stream.receive().context("waiting for the request")?;
        stream.send(b'!').context("sending the response")?;
        open.push(stream);
        if behind.is_none_or(|behind| behind == 0) {
            for stream in open.drain(..) {
                // The client's FIN: nothing more to read.
                stream.receive().context("waiting for the end")?;
            }
        }
    }
    Ok(())
}

/// Does the work on the CPU of this number among those that the calling thread may use.
pub(super) fn on_cpu<T>(number: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let this_thread = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_thread).context("sched_getaffinity")?;
    stay_on(number)?;
    let done = work();
    sched_setaffinity(this_thread, &allowed).context("sched_setaffinity")?;
    done
}

/// Binds the calling thread to the CPU of this number among those it may use.
fn stay_on(number: usize) -> Result<()> {
    let this_thread = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_thread).context("sched_getaffinity")?;
    let cpus: Vec<_> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
    let mut one = CpuSet::new();
    one.set(cpus[number % cpus.len()]).context("CPU_SET")?;
    sched_setaffinity(this_thread, &one).context("sched_setaffinity")
}

/// 127.0.1.1 for the first 5,000 connections, 127.0.1.2 for the next, and on.
fn destination(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 1, 1).to_bits() + number / PER_ADDRESS)
}

fn cpu_time() -> Result<Duration> {
    // SAFETY: `rusage` is plain old data, all zeroes is a valid one.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills in one `rusage`, which lives until the call returns.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) } != 0 {
        return Err(std::io::Error::last_os_error()).context("getrusage");
    }
    let part = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    Ok(part(usage.ru_utime) + part(usage.ru_stime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_taken_to_the_last_connection() {
        let work = Work::of(&Load { connections: 1001, pairs: 2, batch: 16, per_second: None, first: 0 });
        let batches: Vec<_> = std::iter::from_fn(|| work.take()).collect();
        assert_eq!(batches.len(), 63);
        assert_eq!(batches.iter().map(ExactSizeIterator::len).sum::<usize>(), 1001);
        assert_eq!(batches.last(), Some(&(992..1001)));
    }

    #[test]
    fn addresses_move_on_before_ports_run_short() {
        assert_eq!(destination(0), Ipv4Addr::new(127, 0, 1, 1));
        assert_eq!(destination(PER_ADDRESS - 1), Ipv4Addr::new(127, 0, 1, 1));
        assert_eq!(destination(PER_ADDRESS * 255), Ipv4Addr::new(127, 0, 2, 0));
    }
}

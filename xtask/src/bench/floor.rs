//! The lower bounds: the lab's programs that do nothing, or only send a record, loaded by a process of their own.

use std::fs;
use std::io::{Write as _, stdout};
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aya::maps::{Map, MapData};
use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf, EbpfLoader};
use clap::Args;
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::time::TimeSpec;
use nix::unistd::{SysconfVar, sysconf};
use tw_trace_common::lab::FLOOR_RECORD_WORDS;

use super::process::Sign;
use super::told::Told;
use super::view::{Scope, Subject};

/// Name → programs of the lab.
const FLOORS: &[(&str, &[&str])] = &[
    ("floor: empty, states", &["floor_set_state"]),
    ("floor: record, states", &["floor_set_state_record"]),
    ("floor: empty, timers", &["floor_timer_start", "floor_timer_cancel", "floor_timer_expire_entry"]),
];

const RECORDS: [&str; 2] = ["FLOOR_RECORDS_0", "FLOOR_RECORDS_1"];
/// Each: enough for a third of a second of a fast machine's state changes.
const RING_BYTES: u32 = 16 << 20;
const RECORD_BYTES: u64 = 8 * FLOOR_RECORD_WORDS as u64 + 8;
/// As often as tw-trace looks.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Args)]
pub(crate) struct FloorArgs {
    /// The lab's object
    #[arg(long, value_name = "FILE")]
    object: PathBuf,
    programs: Vec<String>,
}

/// The lower bounds as things to be measured.
pub(super) fn subjects(xtask: &Path, lab: &Path) -> Vec<Subject> {
    let floor = |(name, programs): &(&str, &[&str])| {
        let mut args =
            vec!["bench-floor".to_owned(), "--object".to_owned(), lab.to_string_lossy().into_owned()];
        args.extend(programs.iter().map(|&program| program.to_owned()));
        let told =
            if programs.iter().any(|name| name.ends_with("_record")) { Told::Count } else { Told::Unread };
        Subject {
            name: (*name).to_owned(),
            program: xtask.to_path_buf(),
            args,
            scope: Scope::Events,
            sign: Sign::Output,
            told,
            version: None,
        }
    };
    FLOORS.iter().map(floor).collect()
}

/// `cargo xtask bench-floor`: says that it is ready, and at Ctrl-C how many records came.
pub(crate) fn run(args: &FloorArgs) -> Result<()> {
    // Before anything is said: whoever hears it may send the signal at once.
    let mut end = SigSet::empty();
    end.add(Signal::SIGINT);
    end.thread_block()?;
    let (mut lab, drains) = load(args)?;
    let drain = || drains.iter().map(Drain::all).sum::<u64>();
    println!("ready");
    stdout().flush()?;
    while !ended(&end)? {
        drain();
    }
    for name in &args.programs {
        drop(program(&mut lab, name)?.unload());
    }
    println!("records {}", drain());
    Ok(())
}

/// What is to be loaded is loaded and attached.
fn load(args: &FloorArgs) -> Result<(Ebpf, Vec<Drain>)> {
    let object = fs::read(&args.object).with_context(|| format!("reading {}", args.object.display()))?;
    let btf = Btf::from_sys_fs().context("the kernel's types")?;
    let mut loader = EbpfLoader::new();
    for name in RECORDS {
        loader.map_max_entries(name, RING_BYTES);
    }
    let mut lab = loader.load(&object).context("the lab's object")?;
    for name in &args.programs {
        let program = program(&mut lab, name)?;
        let event = name.trim_start_matches("floor_").trim_end_matches("_record");
        let event = if event == "set_state" { "inet_sock_set_state" } else { event };
        program.load(event, &btf).with_context(|| format!("loading {name}"))?;
        program.attach().with_context(|| format!("attaching {name}"))?;
    }
    let drains = RECORDS.iter().map(|name| {
        let Some(Map::RingBuf(map)) = lab.take_map(name) else { bail!("the lab has no ring buffer {name}") };
        Drain::new(map)
    });
    let drains = drains.collect::<Result<_>>()?;
    Ok((lab, drains))
}

fn program<'a>(lab: &'a mut Ebpf, name: &str) -> Result<&'a mut BtfTracePoint> {
    let program = lab.program_mut(name).with_context(|| format!("the lab has no program {name}"))?;
    program.try_into().with_context(|| format!("{name} is of another type"))
}

/// Waits a moment; true when the signal came.
fn ended(end: &SigSet) -> Result<bool> {
    let time = TimeSpec::from_duration(LOOK);
    // SAFETY: the kernel reads the set and the time, which live until the call returns.
    let signal = unsafe { libc::sigtimedwait(end.as_ref(), std::ptr::null_mut(), time.as_ref()) };
    match Errno::result(signal) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
        Err(why) => Err(why).context("waiting for the end"),
    }
}

/// Empties the ring without a look at it: what reading costs is no part of the lower bound.
struct Drain {
    /// Keeps the pages below mapped.
    _map: MapData,
    consumer: NonNull<AtomicU64>,
    producer: NonNull<AtomicU64>,
}

impl Drain {
    fn new(map: MapData) -> Result<Self> {
        let page = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| usize::try_from(size).ok());
        let page = page.and_then(NonZeroUsize::new).context("page size")?;
        let position = |offset: usize, access| {
            let offset = libc::off_t::try_from(offset)?;
            // SAFETY: a new mapping, at an address of the kernel's choice.
            let start = unsafe { mmap(None, page, access, MapFlags::MAP_SHARED, map.fd().as_fd(), offset) };
            Ok::<_, anyhow::Error>(start.context("mapping the ring buffer")?.cast::<AtomicU64>())
        };
        // The first word of each of the map's first two pages (kernel/bpf/ringbuf.c, 5.8 – 7.3).
        let consumer = position(0, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
        let producer = position(page.get(), ProtFlags::PROT_READ)?;
        Ok(Self { _map: map, consumer, producer })
    }

    /// How many records there were so far; their room is given back.
    fn all(&self) -> u64 {
        // SAFETY: mapped for as long as the process lives, and only accessed atomically.
        let produced = unsafe { self.producer.as_ref() }.load(Ordering::Acquire);
        // SAFETY: as above.
        unsafe { self.consumer.as_ref() }.store(produced, Ordering::Release);
        produced / RECORD_BYTES
    }
}

//! The aya calls: load the object with this kernel's facts in it, attach the plan, detach.

use std::{collections::BTreeMap, fs::File, io, os::fd::AsFd as _, thread};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Btf, Ebpf, Pod, VerifierLogLevel,
    maps::{Map, MapData},
    programs::{Program as Loadable, SocketFilter},
};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use tw_trace_common::{
    config::{Cell, Config, Phase, RINGS, mode_bits},
    fields::{ABSENT, COMMON_BYTES, FIELDS, Offsets},
    followed::NEIGHBOURS,
};

use super::{
    cgroups_seen, clock, dccp,
    keys::ByKey,
    ledgers::Taken,
    loader,
    mapping::page_size,
    memory::Memory,
    plan::{Attach, Plan, Program, Serves},
    program::{self, Link},
    settings::{Log, Settings, Sizes},
    sizing::{self, Names},
    sysfs::cpus,
    tick::Tick,
};
use crate::threads::beside;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tw-trace-ebpf"));

/// Calls of `inet_twsk_alloc` under way at once: one or two a CPU, and some that were preempted.
const ALLOCATIONS: u32 = 4096;

/// As in the object.
const RING_MAPS: [&str; RINGS] =
    ["RING_0", "RING_1", "RING_2", "RING_3", "RING_4", "RING_5", "RING_6", "RING_7"];

/// A plain global of the eBPF object.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Global<T>(T);

// SAFETY: only made of repr(C) structs of integers without padding (asserted where they are defined).
unsafe impl<T: Copy + 'static> Pod for Global<T> {}

/// The loaded object; dropping it detaches everything.
pub struct Loaded {
    pub(super) ebpf: Ebpf,
    attached: Vec<(&'static Program, Link)>,
    /// By how much the due times of jiffies may be told late, and so lateness too short.
    pub clock_error_ns: u64,
    /// The network namespace in which the length of TIME_WAIT was learned.
    pub(super) own_net: Option<File>,
    /// Ledgers that were taken out of the kernel side's map.
    pub(super) taken: Taken,
    /// What was counted by keys that were taken out of the kernel side's map.
    pub(super) taken_keys: ByKey,
}

/// Loads what the plan names, ready to attach.
pub fn load(plan: &Plan, btf: &Btf, settings: &Settings) -> Result<Loaded> {
    check_reach(&settings.offsets)?;
    // Kernels before 5.11 charge maps to this limit; where it may not be raised, loading says so itself.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    let rings = ring_sizes(settings.sizes)?;
    let mode = plan.mode() | settings.mode | dccp::mode(&settings.offsets);
    let names = if mode & mode_bits::OWNERLESS == 0 { Names::Kept } else { Names::Unwanted };
    let lines = sizing::lines(settings.sizes.time_waits, names);
    let offsets = Global(settings.offsets);
    let callers = settings.callers.map(Global);
    let pids = settings.pid_namespace.unwrap_or_default();
    let config = Global(Config {
        tick_ns: settings.tick.ns,
        tw_timer_handler: settings.tw_timer_handler,
        filter: settings.filter,
        stream: settings.stream,
        mode,
        socket_mask: settings.sizes.sockets - 1,
        ring_mask: rings.used as u32 - 1,
        by: settings.by.map_or(0, |by| by as u32),
        time_wait_lines: lines,
        spare: 0,
        pid_namespace_dev: pids.dev,
        pid_namespace_inode: pids.inode,
    });
    let log_level = match settings.log {
        Log::Reason => VerifierLogLevel::DISABLE,
        Log::Whole => VerifierLogLevel::VERBOSE,
    };
    let keyless = plan.mode() & mode_bits::KEYLESS != 0;
    let stashes = plan.uses(Attach::ReturnProbe("inet_twsk_alloc"));
    let mut loader = loader::new()?;
    for (index, name) in RING_MAPS.iter().enumerate() {
        loader.map_max_entries(name, if index < rings.used { rings.bytes } else { rings.least });
    }
    let mut ebpf = loader
        .btf(Some(btf))
        .verifier_log_level(log_level | VerifierLogLevel::STATS)
        .override_global("OFFSETS", &offsets, true)
        .override_global("CONFIG", &config, true)
        .override_global("CALLERS", &callers[..], true)
        .map_max_entries("TIME_WAITS", lines)
        .map_max_entries("NAMES", if names == Names::Kept { lines } else { 1 })
        .map_max_entries("CGROUPS_SEEN", if names == Names::Kept { cgroups_seen::ROOM } else { 1 })
        .map_max_entries("NEIGHBOURHOODS", lines / NEIGHBOURS)
        .map_max_entries("LEDGERS", sizing::ledgers(cpus()?))
        .map_max_entries("SOCKETS", settings.sizes.sockets)
        .map_max_entries("CLOSERS", if keyless { settings.sizes.sockets } else { 1 })
        .map_max_entries("WHEEL_SLOTS", settings.sizes.wheel_slots)
        .map_max_entries("WHEEL_SEEDS", settings.sizes.wheel_seeds)
        .map_max_entries("HISTOGRAMS", settings.sizes.histograms)
        .map_max_entries("KEYS", settings.sizes.keys.saturating_mul(2))
        .map_max_entries("ALLOCATIONS", if stashes { ALLOCATIONS } else { 1 })
        .load(OBJECT)
        .map_err(|error| no_room(error.into(), settings.sizes))?;
    let (zero_ns, clock_error_ns) = load_programs(&mut ebpf, plan, btf, settings.tick)?;
    let (taken, taken_keys) = (Taken::default(), ByKey::default());
    let mut loaded = Loaded { ebpf, attached: Vec::new(), clock_error_ns, own_net: None, taken, taken_keys };
    loaded.make_fallback_ledgers()?;
    loaded.set_cell(Cell::JiffyZeroNs, zero_ns)?;
    loaded.set_phase(Phase::Learning)?;
    Ok(loaded)
}

/// An error of loading; where there was no memory, with what would take less of it.
fn no_room(error: anyhow::Error, sizes: Sizes) -> anyhow::Error {
    let out_of_memory = |cause: &(dyn std::error::Error + 'static)| {
        let code = cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        code == Some(libc::ENOMEM)
    };
    if !error.chain().any(out_of_memory) {
        return error.context("loading the eBPF object");
    }
    let limit = Memory::read().left.map_or(String::new(), |left| {
        format!(" (the memory limit of this process's cgroup leaves {} MiB)", left >> 20)
    });
    anyhow!(
        "the kernel has no memory for the maps{limit}: {} KiB of ring buffers, room for {} time-wait sockets and {} full \
         sockets; nothing was attached. Lower --ring-size, --max-time-waits or --max-sockets, or raise the limit",
        sizes.ring >> 10,
        sizes.time_waits,
        sizes.sockets
    )
}

/// Has the kernel verify all programs, while the phase of its jiffies is looked for: either takes its time, and
/// neither needs the other. Returns what the calibration found.
fn load_programs(ebpf: &mut Ebpf, plan: &Plan, btf: &Btf, tick: Tick) -> Result<(u64, u64)> {
    let Some(Map::Array(cells)) = ebpf.map("CELLS") else { bail!("the eBPF object has no array CELLS") };
    let cells = cells.fd().as_fd().try_clone_to_owned()?;
    let mut programs: BTreeMap<_, _> = ebpf.programs_mut().collect();
    let calibrate = programs.remove("calibrate").context("the eBPF object has no program calibrate")?;
    let calibrate: &mut SocketFilter = calibrate.try_into()?;
    let mut shares: [Vec<_>; 2] = Default::default();
    for (index, row) in plan.programs.iter().enumerate() {
        let program = programs
            .remove(row.name)
            .with_context(|| format!("the eBPF object has no program {}", row.name))?;
        shares[index % 2].push((program, *row));
    }
    let load = |share: Vec<(&mut Loadable, &'static Program)>| {
        share.into_iter().try_for_each(|(program, row)| program::load(program, row, &plan.names, btf))
    };
    let [first, second] = shares;
    thread::scope(|scope| {
        let second = beside(scope, "programs", move || load(second));
        let clock = beside(scope, "clock", move || clock::calibrate(calibrate, cells, tick));
        load(first)?;
        second.join("programs")??;
        clock.join("clock")?
    })
}

fn ring_sizes(sizes: Sizes) -> Result<sizing::Rings> {
    Ok(sizing::rings(sizes.ring, cpus()?, page_size()?))
}

/// The kernel side copies the beginning of a `sock_common` at once and picks its fields from the copy.
fn check_reach(offsets: &Offsets) -> Result<()> {
    let common = FIELDS.iter().zip(offsets.slots()).filter(|(field, _)| field.of == "sock_common");
    for (field, offset) in common {
        if offset != ABSENT && usize::from(offset + field.size) > COMMON_BYTES {
            bail!(
                "kernel field {}.{} lies at offset {offset}, behind the {COMMON_BYTES} bytes that tw-trace copies; \
                 nothing was attached. Report this kernel with `tw-trace doctor --json`",
                field.of,
                field.path
            );
        }
    }
    Ok(())
}

impl Loaded {
    /// Attaches one program of the plan.
    fn attach_one(&mut self, row: &'static Program, plan: &Plan) -> Result<()> {
        if let Some(link) = program::attach(&mut self.ebpf, row, &plan.names)? {
            self.attached.push((row, link));
        }
        Ok(())
    }

    /// Attaches only the program that sees timers being armed, which tells nothing while the phase is
    /// [`Phase::Learning`]. It stays: a trace event that loses its last program makes the next one that gets its first
    /// wait for RCU (`TP_TRANSITION_SYNC_1_0_1`, kernel/tracepoint.c, 5.15 – 7.3).
    pub fn attach_armings(&mut self, plan: &Plan) -> Result<()> {
        plan.program(Serves::Armings).map_or(Ok(()), |row| self.attach_one(row, plan))
    }

    /// Attaches in the plan's order what is not attached yet.
    pub fn attach(&mut self, plan: &Plan) -> Result<()> {
        for row in &plan.programs {
            if !self.attached.iter().any(|(there, _)| there.name == row.name) {
                self.attach_one(row, plan)?;
            }
        }
        // Detaching goes the other way.
        self.attached.sort_by_key(|(row, _)| plan.programs.iter().position(|other| other.name == row.name));
        Ok(())
    }

    /// Takes every program off its hook, beginnings before ends; programs and maps stay, to be read.
    pub fn detach(&mut self) -> Result<()> {
        for (row, link) in self.attached.drain(..).rev() {
            link.detach(&mut self.ebpf, row).with_context(|| format!("detaching {}", row.name))?;
        }
        Ok(())
    }

    /// The ring buffers, and how many bytes each has; once.
    pub fn take_rings(&mut self, sizes: Sizes) -> Result<Vec<(MapData, u32)>> {
        let sizes = ring_sizes(sizes)?;
        let rings = RING_MAPS[..sizes.used].iter().map(|name| match self.ebpf.take_map(name) {
            Some(Map::RingBuf(map)) => Ok((map, sizes.bytes)),
            _ => bail!("the eBPF object has no ring buffer {name}, or it was already taken"),
        });
        rings.collect()
    }
}

//! What every live run does before it has anything to tell, and after: attach, seed, read the kernel's own
//! counters around it, detach.

use std::time::Duration;

use anyhow::Result;
use tw_trace_common::{
    config::{Phase, filter_bits, mode_bits},
    keys::By,
};

use crate::{
    audit::Scope,
    header::Header,
    kernel::{
        cgroup_use::CgroupUse,
        clock::{kernel_ns, realtime_offset_ns},
        ledgers::wait_for_programs,
        load::Loaded,
        netns::{Sysctls, run_in},
        pid_namespace,
        plan::Serves,
        prepare::{Attempts, Resolved},
        settings::Settings,
        snapshots::{NetnsId, Snapshots},
    },
    source::live::Live,
    start::{Started, Steps},
    stop::Stop,
    warning::Warning,
};

/// A blind spot of every run that is not about one namespace.
const ONLY_SOCKETS: &str = "what was in TIME_WAIT before the start is not reported in network namespaces that nothing but \
                            sockets holds (no name, mount, process, thread or open file)";
/// An uncertainty of the lateness that is worth a word.
const CLOCK_ERROR_TOLD: u64 = 50_000;
/// A start that takes longer counts for `--duration` too.
const LONGEST_START: Duration = Duration::from_secs(30);

/// What the run is about.
pub struct About {
    /// Filters as given.
    pub filters: Vec<String>,
    /// What the audit can compare.
    pub scope: Scope,
    /// The one namespace that the run is about, if it is about one.
    pub netns: Option<NetnsId>,
    pub duration: Option<Duration>,
    /// Records to be told at most.
    pub count: Option<u64>,
    /// Whether the summary is wanted.
    pub summary: Tell,
    /// How far the start is, whether to say so and what the kernel side logs, and stop requests.
    pub steps: Steps,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    Yes,
    No,
}

/// A run that sees everything from now on.
pub struct Begun {
    pub kernel: Resolved,
    pub settings: Settings,
    pub loaded: Loaded,
    /// Records from the first one on.
    pub source: Live,
    pub header: Header,
    pub ending: Ending,
    /// CLOCK_MONOTONIC when the attaching of what tells anything began.
    pub started_ns: u64,
}

impl Begun {
    /// Attaches and seeds. `warn` is called when something goes wrong that does not end the run.
    pub fn new(
        attempts: &mut Attempts,
        settings: impl Fn(&Resolved) -> Settings,
        about: &About,
        warn: impl Fn(&Warning),
    ) -> Result<Self> {
        let stop = &about.steps.listener;
        if let Some(duration) = about.duration {
            stop.stop_after(duration + LONGEST_START);
        }
        let first = attempts.best()?;
        let mut snapshots = Snapshots::new(about.netns);
        let Started { kernel, settings, mut loaded, mut source, unlearned, started_ns } =
            Started::best(attempts, first, settings, &mut snapshots, &about.steps, &warn)?;
        let walks = loaded.walks(&kernel.plan)?;
        // There is no header yet that records could follow.
        let unseeded = snapshots.seed(&walks, &stop.stop, &mut || source.keep())?;
        loaded.set_phase(Phase::Watching)?;
        about.steps.done("sockets of before seeded")?;
        let mut header = header(&kernel, about, &snapshots, started_ns)?;
        if follows_owners(&kernel, &settings) {
            header.blind_spots.extend(unseen_of_owners(&kernel, &settings, &warn));
        }
        for why in unseeded {
            warn(&Warning::SeedIncomplete { why: why.clone() });
            header.blind_spots.push(why);
        }
        header.blind_spots.extend(snapshots.unlooked.blind_spots());
        if about.netns.is_none() {
            header.blind_spots.push(ONLY_SOCKETS.to_owned());
        }
        if loaded.clock_error_ns > CLOCK_ERROR_TOLD {
            header.blind_spots.push(format!(
                "the machine was too busy to find the phase of its jiffies: lateness may be told up to {} µs short",
                loaded.clock_error_ns / 1_000
            ));
        }
        header.blind_spots.extend(unlearned.map(|why| why.to_string()));
        Ok(Self {
            kernel,
            settings,
            loaded,
            source,
            header,
            ending: Ending { snapshots, is_whole: about.scope == Scope::Whole },
            started_ns,
        })
    }
}

/// What a run does while namespaces are being visited, several times a second: records are not to be lost meanwhile.
pub type Duties<'a> = &'a mut dyn FnMut(&mut Loaded) -> Result<()>;

/// The namespaces of a run that goes on.
pub struct Ending {
    snapshots: Snapshots,
    /// The run is about all sockets in them.
    is_whole: bool,
}

impl Ending {
    /// Seeds once more what is not followed, in the namespaces that there are now; returns which could not be.
    pub fn seed_again(
        &mut self,
        loaded: &mut Loaded,
        kernel: &Resolved,
        stop: &Stop,
        duties: Duties,
    ) -> Result<Vec<String>> {
        let walks = loaded.walks(&kernel.plan)?;
        loaded.set_phase(Phase::SeedingAgain)?;
        let unseeded = self.snapshots.seed_again(&walks, stop, &mut || duties(loaded))?;
        loaded.set_phase(Phase::Watching)?;
        Ok(unseeded)
    }

    /// Whether the ledger of this namespace is to be held against what the kernel had counted at the start.
    pub fn watches(&self, net: u64) -> bool {
        self.snapshots.watches(net)
    }

    /// Detaches between two readings of the kernel's counters, and books what went unseen. Returns CLOCK_MONOTONIC then.
    pub fn end(mut self, loaded: &mut Loaded, kernel: &Resolved, duties: Duties) -> Result<(Snapshots, u64)> {
        let snapshots = &mut self.snapshots;
        snapshots.read_before_detaching(&mut || duties(loaded))?;
        // What filters select cannot be compared with what the kernel has.
        let living = self.is_whole.then(|| snapshots.living());
        let check = unless_told(loaded.check(&kernel.plan, snapshots, living, kernel.tick, duties)).flatten();
        loaded.detach()?;
        let ended = kernel_ns()?;
        snapshots.read_after_detaching(&mut || duties(loaded))?;
        wait_for_programs();
        if let Some(check) = check {
            unless_told(loaded.book_unseen(&check));
        }
        Ok((self.snapshots, ended))
    }
}

/// What came of looking for sockets that went unseen; not to be able to look costs nothing else.
fn unless_told<T>(result: Result<T>) -> Option<T> {
    result.map_err(|why| Warning::Unchecked { why: format!("{why:#}") }.tell()).ok()
}

/// Whether records or keys say whose a connection is.
fn follows_owners(kernel: &Resolved, settings: &Settings) -> bool {
    settings.mode & mode_bits::OWNERLESS == 0 && kernel.plan.program(Serves::States).is_some()
}

/// The blind spots in whose a connection is. `warn` gets those that leave an option without effect.
fn unseen_of_owners(kernel: &Resolved, settings: &Settings, warn: impl Fn(&Warning)) -> Vec<String> {
    let outside = kernel.pid_namespace.map(|_| pid_namespace::OUTSIDE);
    let groups = CgroupUse::read().blind_spot();
    let asks_for_groups =
        settings.filter.active & filter_bits::CGROUP != 0 || settings.by == Some(By::Cgroup);
    if let (Some(why), true) = (groups, asks_for_groups) {
        warn(&Warning::CgroupsUntold { why: why.to_owned() });
    }
    outside.into_iter().chain(groups).map(str::to_owned).collect()
}

fn header(kernel: &Resolved, about: &About, snapshots: &Snapshots, started: u64) -> Result<Header> {
    // A namespace of its own has settings of its own; without one, those of the namespace we are in.
    let sysctls = match snapshots.open_only() {
        // Not being allowed in is told with the seeding.
        Some(netns) => run_in(&netns, Sysctls::read).unwrap_or_default(),
        None => Sysctls::read(),
    };
    Ok(Header {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: nix::sys::utsname::uname()?.release().to_string_lossy().into_owned(),
        hz: kernel.tick.hz,
        tick_ns: kernel.tick.ns,
        backend: kernel.plan.backend.name().to_owned(),
        programs: kernel.plan.programs.iter().map(|row| row.name.to_owned()).collect(),
        blind_spots: kernel.plan.blind_spots.clone(),
        replaced: kernel.plan.replaced.clone(),
        sysctls: sysctls.0.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        filters: about.filters.clone(),
        realtime_offset_ns: realtime_offset_ns()?,
        started_mono_ns: started,
    })
}

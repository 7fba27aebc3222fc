//! From a choice of programs to attached ones: what the kernel refuses is replaced by the next best, until it takes
//! a plan or none is left.

use std::time::Instant;

use anyhow::{Context as _, Result};
use tw_trace_common::config::Phase;

use crate::{
    begin::Tell,
    exit::Stopped,
    kernel::{
        clock::kernel_ns,
        learn::Unlearned,
        load::{Loaded, load},
        plan::Serves,
        prepare::{Attempts, Resolved},
        program::Refused,
        settings::{Log, Settings},
        snapshots::Snapshots,
    },
    source::{live::Live, ring::Ring, rings::Rings},
    stderr,
    stop::Listener,
    warning::Warning,
};

/// Everything attached, nothing seeded yet.
pub struct Started {
    pub kernel: Resolved,
    pub settings: Settings,
    pub loaded: Loaded,
    pub source: Live,
    /// Why the length of TIME_WAIT could not be learned beforehand.
    pub unlearned: Option<Unlearned>,
    /// CLOCK_MONOTONIC when the attaching of what tells anything began.
    pub started_ns: u64,
}

impl Started {
    /// Tries the attempts from `kernel` on.
    pub fn best(
        attempts: &mut Attempts,
        mut kernel: Resolved,
        settings: impl Fn(&Resolved) -> Settings,
        snapshots: &mut Snapshots,
        steps: &Steps,
        warn: impl Fn(&Warning),
    ) -> Result<Self> {
        loop {
            let settings = settings(&kernel);
            let log = settings.log;
            let refused = match Self::attempt(kernel, settings, &mut *snapshots, steps) {
                Ok(started) => return Ok(started),
                Err(error) => error.downcast::<Refused>()?,
            };
            let whole_log = (log == Log::Whole && !refused.log.is_empty()).then(|| refused.log.clone());
            warn(&Warning::Refused { what: refused.to_string(), whole_log, extent: refused.extent });
            attempts.refused(&refused);
            kernel = attempts.best()?;
        }
    }

    fn attempt(
        mut kernel: Resolved,
        settings: Settings,
        snapshots: &mut Snapshots,
        steps: &Steps,
    ) -> Result<Self> {
        let btf = kernel.btf.take().context("the kernel's types were let go before loading")?;
        steps.done("plan made")?;
        let mut loaded = load(&kernel.plan, &btf, &settings)?;
        drop(btf);
        give_back_memory();
        steps.done("programs loaded")?;
        loaded.attach_armings(&kernel.plan)?;
        let unlearned = loaded.learn_timewait_len(&kernel.plan).err();
        steps.done("length of TIME_WAIT learned")?;
        // Nobody is woken for rings that nothing is written to.
        let rings = if settings.stream == 0 { Vec::new() } else { loaded.take_rings(settings.sizes)? };
        let rings = rings.into_iter().map(|(map, bytes)| Ring::new(map, bytes)).collect::<Result<_>>()?;
        let source = Live::new(Rings::new(rings, settings.sizes.spool as usize));
        snapshots.read_before_attaching(&steps.listener.stop)?;
        let started_ns = kernel_ns()?;
        if kernel.plan.program(Serves::Armings).is_some() {
            // Sockets that enter are followed when all that tells of their ends is there.
            loaded.attach(&kernel.plan)?;
            loaded.set_phase(Phase::Seeding)?;
        } else {
            loaded.set_phase(Phase::Seeding)?;
            loaded.attach(&kernel.plan)?;
        }
        steps.done("programs attached")?;
        Ok(Self { kernel, settings, loaded, source, unlearned, started_ns })
    }
}

/// What loading needed is free again, and the allocator would keep it for as long as we live.
fn give_back_memory() {
    // SAFETY: may be called at any time.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The steps of a start: reported to who asked with `-v`, and where a start ends that is no longer wanted.
pub struct Steps {
    /// Stop requests, noticed from the first moment.
    pub listener: Listener,
    tell: Tell,
    began: Instant,
}

impl Steps {
    pub fn new(tell: Tell) -> Result<Self> {
        Ok(Self { listener: Listener::new()?, tell, began: Instant::now() })
    }

    pub fn are_told(&self) -> bool {
        self.tell == Tell::Yes
    }

    /// One step is done; an error if somebody asked to stop meanwhile.
    pub fn done(&self, what: &str) -> Result<(), Stopped> {
        if self.are_told() {
            stderr::line(format_args!("{what} after {} ms", self.began.elapsed().as_millis()));
        }
        if self.listener.stop.is_asked() { Err(Stopped) } else { Ok(()) }
    }
}

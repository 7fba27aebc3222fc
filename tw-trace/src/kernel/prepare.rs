//! Everything that is looked up before a program can be loaded, in one pass over BTF and kallsyms.

use std::{
    fs::File,
    io::{self, BufReader},
    path::Path,
    thread,
};

use anyhow::{Context as _, Result};
use aya::Btf;
use tw_trace_common::{
    config::{CALLER_RANGES, CallerRange},
    fields::{ABSENT, Offsets},
};

use super::{
    btf_file, callers,
    facts::{BtfFacts, FTRACE_DIRECT, FUNCTIONS, Facts, System, Told, Untold, own_btf},
    function_name::{Found, several},
    kallsyms::{self, KallsymsError, Symbols},
    netns,
    pid_namespace::PidNamespace,
    plan::{self, Attach, Backend, Plan, Wants},
    program::{Extent, Refused},
    tick::Tick,
};
use crate::{
    audit::CountedAt,
    exit::{Unable, Usage},
    threads::beside,
};

/// This kernel, read once.
pub struct Prepared {
    pub facts: Facts,
    callers: Result<callers::Ranges, String>,
    /// What `timer_list.function` of a time-wait timer points to.
    tw_timer_handler: Found<u64>,
    attach_types: AttachTypes,
}

/// What programs are attached by, as BTF.
#[derive(Default)]
struct AttachTypes {
    bytes: Vec<u8>,
    /// Read, for the first attempt at loading.
    first: Option<Btf>,
}

/// What loading needs to know of the kernel.
pub struct Resolved {
    pub plan: Plan,
    /// For the loading only.
    pub btf: Option<Btf>,
    pub offsets: Offsets,
    pub callers: [CallerRange; CALLER_RANGES],
    pub tw_timer_handler: u64,
    pub tick: Tick,
    pub counted_at: CountedAt,
    /// The pid namespace whose numbers are wanted, if that is not the initial one.
    pub pid_namespace: Option<PidNamespace>,
}

impl Prepared {
    /// Types and symbols are read side by side: either takes longer than all the rest up to the first program. A file of
    /// `--btf` that cannot be of use is refused by name, before anything else is looked at.
    pub fn read(btf_file: Option<&Path>) -> Result<Self, Usage> {
        let given = btf_file.map(btf_file::read).transpose()?;
        Ok(Self::with_types(given))
    }

    fn with_types(given: Option<Vec<u8>>) -> Self {
        let ((btf, attach_types), symbols) = thread::scope(|scope| {
            let symbols = beside(scope, "symbols", read_symbols);
            // The types here: memory that was another thread's is not given back (`give_back_memory`).
            let types = read_types(given);
            let panicked = |error| Err(KallsymsError::Read(io::Error::other(error)));
            (types, symbols.join("symbols").unwrap_or_else(panicked))
        });
        let facts = Facts::from_parts(System::read(), btf, &symbols);
        let (callers, tw_timer_handler) = match &symbols {
            Ok(symbols) => (Ok(callers::resolve(symbols)), symbols.pointer(callers::TIMER_HANDLER)),
            Err(error) => (Err(error.to_string()), Found::Absent),
        };
        Self { facts, callers, tw_timer_handler, attach_types }
    }

    /// The plan for a view: of the backend that was forced, or of the first that works.
    pub fn plan(&self, forced: Option<Backend>, wants: Wants) -> Result<Plan, Unable> {
        let mut plan = match forced {
            Some(backend) => {
                plan::plan(backend, &self.facts, wants).map_err(|refusal| Unable(refusal.to_string()))
            }
            None => plan::auto(&self.facts, wants).map_err(|refusals| Unable(all_refuse(&refusals))),
        }?;
        if wants.time_waits() {
            let ranges = self.callers.as_ref().map_err(|why| Unable(why.clone()))?;
            self.handler()?;
            if plan.uses(Attach::TraceEvent("timer_cancel")) && !ranges.undecided.is_empty() {
                return Err(Unable(ranges.undecided.join("; ")));
            }
            plan.blind_spots.extend(ranges.blind_spots.iter().cloned());
        }
        Ok(plan)
    }

    fn handler(&self) -> Result<u64, Unable> {
        let why = match &self.tw_timer_handler {
            Found::One(address) => return Ok(*address),
            Found::Absent => format!("the kernel has no symbol {}", callers::TIMER_HANDLER),
            Found::Several(names) => several(callers::TIMER_HANDLER, names),
        };
        Err(Unable(format!(
            "{why}: time-wait timers cannot be told from others; report this kernel with `tw-trace doctor --json`"
        )))
    }

    /// Goes with a plan to loading.
    pub fn resolve(&mut self, plan: Plan) -> Result<Resolved> {
        let facts = self
            .facts
            .btf
            .as_ref()
            .map_err(|untold| Unable(format!("the kernel's types (BTF) are {untold}")))?;
        let fields = facts.offsets.as_ref().map_err(|missing| Unable(missing.to_string()))?;
        let tick =
            self.facts.system.tick.as_ref().map_err(|untold| Unable(format!("the tick is {untold}")))?;
        let btf = self.attach_types.take()?;
        let mut offsets = fields.offsets;
        if netns::cookie().is_none() {
            // Before 5.12 a namespace has no cookie until somebody asks for it, before 5.14 nobody here may: both
            // sides must know a namespace by the same number.
            offsets.net_cookie = ABSENT;
        }
        Ok(Resolved {
            plan,
            btf: Some(btf),
            offsets,
            callers: self.callers.as_ref().map_or([CallerRange::NONE; CALLER_RANGES], |found| found.ranges),
            // A view without time-wait sockets does not need it.
            tw_timer_handler: self.handler().unwrap_or(0),
            tick: *tick,
            counted_at: if facts.tw_kill { CountedAt::Firing } else { CountedAt::Arming },
            pid_namespace: PidNamespace::shown(),
        })
    }
}

impl AttachTypes {
    fn take(&mut self) -> Result<Btf> {
        self.first.take().map_or_else(|| self.read(), Ok)
    }

    /// Takes as long as all types do, although next to nothing is left in them: a type is known by how many come before
    /// it.
    fn read(&self) -> Result<Btf> {
        Btf::parse(&self.bytes, aya::Endianness::default()).context("reading the kernel's types")
    }
}

/// What the kernel's types tell, and those that programs are attached by. The whole of them is let go at once.
fn read_types(given: Option<Vec<u8>>) -> (Told<BtfFacts>, AttachTypes) {
    let bytes = match given.map_or_else(own_btf, Ok) {
        Ok(bytes) => bytes,
        Err(untold) => return (Err(untold), AttachTypes::default()),
    };
    let (facts, pruned) = match super::btf::Btf::parse(&bytes) {
        Ok(btf) => (BtfFacts::read(&btf), btf.pruned(&plan::attach_types())),
        Err(error) => return (Err(Untold(error.to_string())), AttachTypes::default()),
    };
    drop(bytes);
    let mut types = AttachTypes { bytes: pruned, first: None };
    // What cannot be read is told when it is wanted.
    types.first = types.read().ok();
    (Ok(facts), types)
}

fn read_symbols() -> Result<Symbols, KallsymsError> {
    let mut wanted = callers::wanted();
    wanted.extend(FUNCTIONS);
    wanted.extend(FTRACE_DIRECT);
    let file = File::open("/proc/kallsyms").map_err(KallsymsError::Read)?;
    kallsyms::find(BufReader::with_capacity(1 << 16, file), &wanted)
}

/// A choice of programs, made anew each time the kernel refuses one.
pub struct Attempts {
    pub prepared: Prepared,
    pub forced: Option<Backend>,
    pub wants: Wants,
}

impl Attempts {
    /// The best plan with all that was refused left out.
    pub fn best(&mut self) -> Result<Resolved> {
        let plan = self.prepared.plan(self.forced, self.wants)?;
        self.prepared.resolve(plan)
    }

    /// Takes note of a refusal; the next plan is another one.
    pub fn refused(&mut self, refused: &Refused) {
        let facts = &mut self.prepared.facts.refused;
        match (refused.extent, refused.program.attach) {
            (Extent::Kind, Attach::Entry(_) | Attach::Exit(_)) => {
                facts.backends.insert(Backend::Fentry.name(), refused.in_one_line());
            }
            (Extent::Kind, Attach::Probe(_) | Attach::ReturnProbe(_)) => {
                facts.backends.insert(Backend::Kprobe.name(), refused.in_one_line());
            }
            (Extent::Kind | Extent::Program, _) => {
                facts.programs.insert(refused.program.name, refused.in_one_line());
            }
        }
    }
}

/// One sentence per missing thing, with the backends that want it.
fn all_refuse(refusals: &[plan::Refusal]) -> String {
    // In the order in which they are given: privileges come first.
    let mut wanted_by: Vec<(&str, Vec<&str>)> = Vec::new();
    for refusal in refusals {
        for reason in &refusal.reasons {
            match wanted_by.iter_mut().find(|(known, _)| known == reason) {
                Some((_, by)) => by.push(refusal.backend.name()),
                None => wanted_by.push((reason, vec![refusal.backend.name()])),
            }
        }
    }
    let reasons: Vec<_> = wanted_by
        .iter()
        .map(|(reason, by)| {
            if by.len() == refusals.len() {
                (*reason).to_owned()
            } else {
                format!("{}: {reason}", by.join(", "))
            }
        })
        .collect();
    format!("no backend can work here: {}. `tw-trace doctor` tells more", reasons.join("; "))
}

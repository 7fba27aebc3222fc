//! Which programs a view attaches on this kernel. The choice is pure and goes by what the kernel has, never by its
//! version; `table` holds what there is to choose from.

use std::{collections::BTreeMap, fmt};

use tw_trace_common::{config::mode_bits, event::Kind};

use super::{facts::Facts, function_name::Found};
pub use parts::{Attach, Missed, Params, Program, Serves, attach_types};
use table::{HALF_OPEN, HIDDEN_BY_INIT, TASKS, Way};
pub use wants::Wants;

mod parts;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod wants;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Fentry,
    Kprobe,
    Tracepoint,
}

impl Backend {
    /// In the order in which `auto` tries them.
    pub const ALL: [Self; 3] = [Self::Fentry, Self::Kprobe, Self::Tracepoint];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The programs that a view attaches on this kernel.
#[derive(Debug)]
pub struct Plan {
    pub backend: Backend,
    /// In the order of attaching: ends are watched before beginnings, so that nothing begins unwatched.
    pub programs: Vec<&'static Program>,
    /// What it cannot see, one sentence each.
    pub blind_spots: Vec<String>,
    /// What stands in for what this kernel does not have, one sentence each.
    pub replaced: Vec<String>,
    /// Those of the blind spots for which nobody counts what is missed: nothing can be claimed to add up.
    pub uncovered: Vec<String>,
    /// What its functions are called in this kernel.
    pub names: FunctionNames,
    serves: Vec<(Serves, &'static Way)>,
    keyless: bool,
}

/// What functions are attached by, by their names in the source: the symbol for kprobes, the type for trampolines.
#[derive(Debug, Default)]
pub struct FunctionNames(BTreeMap<&'static str, (String, String)>);

impl FunctionNames {
    fn of(programs: &[&'static Program], facts: &Facts) -> Self {
        let names = programs.iter().filter_map(|program| program.attach.function()).map(|name| {
            let function = facts.function(name);
            let symbol = match function.symbol {
                Ok(Found::One(symbol)) => symbol,
                // Where the kernel tells no names, the one in the source is tried.
                Ok(Found::Absent | Found::Several(_)) | Err(_) => name.to_owned(),
            };
            (name, (symbol, function.type_name))
        });
        Self(names.collect())
    }

    /// The symbol that a kprobe on the function is attached by.
    pub fn symbol<'a>(&'a self, function: &'a str) -> &'a str {
        self.0.get(function).map_or(function, |(symbol, _)| symbol)
    }

    /// The type that a trampoline at the function is attached by.
    pub fn type_name<'a>(&'a self, function: &'a str) -> &'a str {
        self.0.get(function).map_or(function, |(_, type_name)| type_name)
    }
}

impl Plan {
    /// The program that serves this, where one does.
    pub fn program(&self, serves: Serves) -> Option<&'static Program> {
        self.way(serves)?.programs.first()
    }

    fn way(&self, serves: Serves) -> Option<&'static Way> {
        self.serves.iter().find(|(task, _)| *task == serves).map(|(_, way)| *way)
    }

    /// Bits of `mode_bits`: how the programs of this plan work together.
    pub fn mode(&self) -> u16 {
        let functions = self.way(Serves::Ends).is_some_and(|way| hangs_on_functions(way.programs));
        (if self.keyless { mode_bits::KEYLESS } else { 0 })
            | (if functions { mode_bits::FUNCTIONS } else { 0 })
    }

    /// Whether any of its programs is at this place.
    pub fn uses(&self, wanted: Attach) -> bool {
        self.programs.iter().any(|program| program.attach == wanted)
    }
}

/// Why a backend cannot do the work here: what is missing, with its consequence and the next step.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub backend: Backend,
    pub reasons: Vec<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} backend cannot work here: {}", self.backend, self.reasons.join("; "))
    }
}

impl std::error::Error for Refusal {}

/// Whether any of them is at a function of the kernel, and not at an event that it offers.
fn hangs_on_functions(programs: impl IntoIterator<Item = &'static Program>) -> bool {
    programs.into_iter().any(|program| program.attach.function().is_some())
}

/// The plan of one backend.
pub fn plan(backend: Backend, facts: &Facts, wants: Wants) -> Result<Plan, Refusal> {
    let mut reasons = facts.missing_for(backend);
    if facts.btf.is_err() {
        // Of a kernel without known types nothing more is known to be missing.
        return Err(Refusal { backend, reasons });
    }
    if backend == Backend::Tracepoint && wants.0 == Kind::TwOverflow.bit() {
        reasons.push(
            "connections that skip TIME_WAIT cannot be told one by one from trace events, so nothing would be told; \
             the summary of a run without --events counts them"
                .to_owned(),
        );
    }
    let mut plan = Plan {
        backend,
        programs: Vec::new(),
        blind_spots: Vec::new(),
        replaced: Vec::new(),
        uncovered: Vec::new(),
        names: FunctionNames::default(),
        serves: Vec::new(),
        keyless: !facts.has_cookies(),
    };
    for task in TASKS.iter().filter(|task| wants.needs(task.serves)) {
        plan.choose(task, facts, &mut reasons);
    }
    plan.look_for_cookies(facts);
    plan.names = FunctionNames::of(&plan.programs, facts);
    if wants.states() {
        plan.blind_spots.push(HALF_OPEN.to_owned());
    }
    if facts.system.init_private {
        plan.blind_spots.push(HIDDEN_BY_INIT.to_owned());
    }
    if backend != Backend::Tracepoint
        && !hangs_on_functions(plan.programs.iter().copied())
        && reasons.is_empty()
    {
        reasons.push(format!(
            "no function that it would watch can be watched ({}); use --backend tracepoint",
            plan.replaced.join("; ")
        ));
    }
    if reasons.is_empty() { Ok(plan) } else { Err(Refusal { backend, reasons }) }
}

impl Plan {
    /// Takes the first way in which this kernel can do the task; says what the ways before it lacked.
    fn choose(&mut self, task: &'static table::Task, facts: &Facts, reasons: &mut Vec<String>) {
        let mut lacking: Vec<String> = Vec::new();
        let ways = task.ways.iter().filter(|way| way.backends.contains(&self.backend));
        for way in ways {
            let mut open = true;
            for why in way.programs.iter().filter_map(|program| facts.missing_for_program(program).err()) {
                open = false;
                if !lacking.contains(&why) {
                    lacking.push(why);
                }
            }
            if !open {
                continue;
            }
            if !lacking.is_empty() {
                let places: Vec<_> = way.programs.iter().map(|program| program.attach.to_string()).collect();
                self.replaced.push(format!(
                    "{}: {}, so told from {}",
                    task.what,
                    lacking.join(", "),
                    places.join(", ")
                ));
            }
            self.programs.extend(way.programs);
            self.serves.push((task.serves, way));
            self.blind_spots.extend(way.cannot_see.iter().map(|&spot| spot.to_owned()));
            self.uncovered.extend(way.uncovered.iter().map(|&spot| spot.to_owned()));
            self.blind_spots.extend(way.uncovered.iter().map(|&spot| spot.to_owned()));
            return;
        }
        let why = if lacking.is_empty() { String::new() } else { format!(" ({})", lacking.join(", ")) };
        match task.without {
            table::Without::Refuse(consequence) => reasons.push(format!("{consequence}{why}")),
            table::Without::CannotSee(spot) => self.blind_spots.push(format!("{spot}{why}")),
            table::Without::Uncovered(spot) => {
                let spot = format!("{spot}{why}");
                self.uncovered.push(spot.clone());
                self.blind_spots.push(spot);
            }
        }
    }

    /// Programs that hang on kprobes may not ask for cookies, and those of old kernels may not either.
    fn look_for_cookies(&mut self, facts: &Facts) {
        let states = self.way(Serves::States).map(|way| way.programs).unwrap_or_default();
        let by_kprobe = states.iter().any(|program| matches!(program.attach, Attach::Probe(_)));
        let why = if by_kprobe {
            "programs on kprobes may not ask for"
        } else if !facts.has_cookies() {
            "this kernel lets no tracing program ask for (Linux 5.12 does)"
        } else {
            return;
        };
        self.keyless = true;
        self.blind_spots.push(format!(
            "socket cookies, which {why}: cookie is null unless somebody else asked for the socket's (as ss does); \
             sockets are followed by their addresses"
        ));
    }
}

/// The first backend, in the order of [`Backend::ALL`], that can do the work; or why none can.
pub fn auto(facts: &Facts, wants: Wants) -> Result<Plan, Vec<Refusal>> {
    let mut refusals = Vec::new();
    for backend in Backend::ALL {
        match plan(backend, facts, wants) {
            Ok(plan) => return Ok(plan),
            Err(refusal) => refusals.push(refusal),
        }
    }
    Err(refusals)
}

//! What tw-trace makes of real kernels, from their stored types and symbols: offsets, facts, and the plan of each
//! backend. Needs neither these kernels nor privileges.
//!
//! `tests/kernels/LINE-ARCH` is what `cargo xtask kernel-data` cut out of a kernel of that line; `expected` in it is
//! the answer, written anew with `TW_TRACE_BLESS=1`.
#![expect(clippy::unwrap_used, reason = "a stored kernel that cannot be read is a failure of the test")]

#[path = "common/machine.rs"]
mod machine;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tw_trace::kernel::btf::Btf;
use tw_trace::kernel::callers;
use tw_trace::kernel::facts::{BtfFacts, FTRACE_DIRECT, FUNCTIONS, Facts, Release, Untold};
use tw_trace::kernel::kallsyms::{self, KallsymsError, Symbols};
use tw_trace::kernel::offsets::resolve_offsets;
use tw_trace::kernel::plan::{Attach, Backend, Plan, Wants, auto, plan};
use tw_trace_common::event::Kind;
use tw_trace_common::fields::{ABSENT, FIELDS};

/// As stored.
struct Kernel {
    folder: PathBuf,
    btf: Vec<u8>,
    kallsyms: String,
}

fn kernels() -> Vec<Kernel> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels");
    let mut folders: Vec<_> = fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 7, "five lines on x86-64, two on aarch64: {folders:?}");
    let read = |folder: PathBuf| Kernel {
        btf: fs::read(folder.join("btf")).unwrap(),
        kallsyms: fs::read_to_string(folder.join("kallsyms")).unwrap(),
        folder,
    };
    folders.into_iter().map(read).collect()
}

impl Kernel {
    fn name(&self) -> String {
        self.folder.file_name().unwrap().to_string_lossy().into_owned()
    }

    fn symbols(&self) -> Result<Symbols, KallsymsError> {
        let wanted = [callers::wanted().as_slice(), FUNCTIONS, FTRACE_DIRECT].concat();
        kallsyms::find(self.kallsyms.as_bytes(), &wanted)
    }

    /// For a process that may do everything.
    fn facts(&self) -> Facts {
        let (line, arch) = self.name().split_once('-').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let system = machine::where_all_is_allowed(Release { release: line, version: String::new(), arch });
        Facts::from_parts(system, BtfFacts::told(Ok(&self.btf)), &self.symbols())
    }

    /// The same kernel with a function of another name, in its types and among its symbols.
    fn renamed(&self, function: &str) -> Self {
        let other = format!("{}X", &function[..function.len() - 1]);
        let (old, new) = (format!("\0{function}\0"), format!("\0{other}\0"));
        let at = self.btf.windows(old.len()).position(|window| window == old.as_bytes()).unwrap();
        let mut btf = self.btf.clone();
        btf[at..at + new.len()].copy_from_slice(new.as_bytes());
        let rename = |line: &str| match line.strip_suffix(&format!(" {function}")) {
            Some(head) => format!("{head} {other}\n"),
            None => format!("{line}\n"),
        };
        Self { folder: self.folder.clone(), btf, kallsyms: self.kallsyms.lines().map(rename).collect() }
    }
}

const EVERYTHING: Wants = Wants::kinds(Kind::ALL);

fn describe(kernel: &Kernel) -> String {
    let facts = kernel.facts();
    let btf = facts.btf.as_ref().unwrap();
    let mut text = String::new();
    let offsets = btf.offsets.as_ref().unwrap().offsets;
    for (field, offset) in FIELDS.iter().zip(offsets.slots()) {
        let offset = if offset == ABSENT { "absent".to_owned() } else { offset.to_string() };
        writeln!(text, "offset {}.{} = {offset}", field.of, field.path).unwrap();
    }
    writeln!(text, "cookies {}, TW counted at firing {}", btf.cookies, btf.tw_kill).unwrap();
    let ranges = callers::resolve(&kernel.symbols().unwrap());
    writeln!(text, "callers: cannot tell {:?} {:?}", ranges.blind_spots, ranges.undecided).unwrap();
    for backend in Backend::ALL {
        let plan = plan(backend, &facts, EVERYTHING).unwrap();
        let programs: Vec<_> = plan.programs.iter().map(|program| program.name).collect();
        writeln!(text, "{backend}: mode {}", plan.mode()).unwrap();
        writeln!(text, "  programs {}", programs.join(" ")).unwrap();
        for (what, lines) in
            [("replaced", &plan.replaced), ("cannot see", &plan.blind_spots), ("uncovered", &plan.uncovered)]
        {
            lines.iter().for_each(|line| writeln!(text, "  {what}: {line}").unwrap());
        }
    }
    text
}

#[test]
fn offsets_facts_and_plans_are_as_stored() {
    for kernel in kernels() {
        let (told, path) = (describe(&kernel), kernel.folder.join("expected"));
        if std::env::var_os("TW_TRACE_BLESS").is_some() {
            fs::write(&path, &told).unwrap();
        }
        assert_eq!(told, fs::read_to_string(&path).unwrap(), "differs from {}", path.display());
    }
}

#[test]
fn every_kernel_has_every_function_that_its_best_plan_wants() {
    for kernel in kernels() {
        for backend in Backend::ALL {
            let plan = plan(backend, &kernel.facts(), EVERYTHING).unwrap();
            assert_eq!(plan.replaced, [""; 0], "{}, {backend}", kernel.name());
            assert_eq!(plan.uncovered, [""; 0], "{}, {backend}", kernel.name());
        }
        assert_eq!(auto(&kernel.facts(), EVERYTHING).unwrap().backend, Backend::Fentry, "{}", kernel.name());
    }
}

/// What changed between the lines, and what the plan makes of it.
#[test]
fn lines_differ_where_they_are_known_to() {
    for kernel in kernels() {
        let old = kernel.name().starts_with("5.10");
        let facts = kernel.facts();
        let btf = facts.btf.as_ref().unwrap();
        assert_eq!((btf.cookies, btf.tw_kill), (!old, old), "{}", kernel.name());
        let hashdance = facts.function("inet_twsk_hashdance_schedule").params;
        let new = !old && !kernel.name().starts_with("6.1-");
        assert_eq!(hashdance, Ok(new.then_some(4)), "{}", kernel.name());
        let timer_start = btf.trace_events["timer_start"];
        assert_eq!(timer_start, Some(if new { 2 } else { 3 }), "{}", kernel.name());
    }
}

/// Each function that a plan hangs on, renamed: nothing hangs on it, and it is said what takes over or is lost.
#[test]
fn a_renamed_function_never_makes_a_silent_blind_spot() {
    let probed = |plan: &Plan| -> Vec<&'static str> {
        plan.programs.iter().filter_map(|program| program.attach.function()).collect()
    };
    for kernel in kernels() {
        for backend in [Backend::Fentry, Backend::Kprobe] {
            let whole = plan(backend, &kernel.facts(), EVERYTHING).unwrap();
            for function in probed(&whole) {
                let plan = plan(backend, &kernel.renamed(function).facts(), EVERYTHING).unwrap();
                let case = format!("{}, {backend}, {function}", kernel.name());
                assert!(!probed(&plan).contains(&function), "{case}");
                let said = plan.replaced.iter().chain(&plan.blind_spots);
                assert!(said.into_iter().any(|text| text.contains(&format!("{function}()"))), "{case}");
                let rest = plan.programs.iter().any(|program| program.attach == Attach::Iterator("tcp"));
                assert!(rest, "{case}");
            }
        }
    }
}

#[test]
fn stored_types_are_whole() {
    for kernel in kernels() {
        let btf = Btf::parse(&kernel.btf).unwrap();
        let resolved = resolve_offsets(&btf).unwrap();
        // Debian's 5.10 is built without MPTCP.
        let without: Vec<_> = resolved.absent.iter().map(|field| field.path).collect();
        let wanted: &[&str] = if kernel.name().starts_with("5.10") { &["is_mptcp", "conn"] } else { &[] };
        assert_eq!(without, wanted, "{}", kernel.name());
        let head = [resolved.offsets.skc_daddr, resolved.offsets.skc_rcv_saddr];
        assert_eq!(head, [0, 4], "{}", kernel.name());
    }
}

#[test]
fn without_types_nothing_is_guessed() {
    let kernel = &kernels()[0];
    let no_types = Untold("no BTF here".to_owned());
    let facts = Facts::from_parts(kernel.facts().system, Err(no_types), &kernel.symbols());
    let refusals = auto(&facts, EVERYTHING).unwrap_err();
    assert!(refusals.iter().all(|refusal| refusal.to_string().contains("no BTF here")));
}

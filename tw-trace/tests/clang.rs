//! What tw-trace makes of kernels that Clang built, whose functions have other names in kallsyms than in the source.
//!
//! `tests/kallsyms` are the cut symbols of a stored kernel with the names that Clang gives them: `thinlto` and `twins` of
//! 6.12 on x86-64; `cfi` of 6.12 on aarch64, with the jump tables that such kernels had up to 6.0.
#![expect(clippy::unwrap_used, reason = "a stored kernel that cannot be read is a failure of the test")]

#[path = "common/machine.rs"]
mod machine;

use std::fs;
use std::path::Path;

use tw_trace::kernel::callers;
use tw_trace::kernel::facts::{BtfFacts, FTRACE_DIRECT, FUNCTIONS, Facts, Release};
use tw_trace::kernel::function_name::{Found, Role, role};
use tw_trace::kernel::kallsyms::{Symbols, find};
use tw_trace::kernel::plan::{Attach, Backend, Plan, Wants, plan};
use tw_trace_common::event::Kind;

const EVERYTHING: Wants = Wants::kinds(Kind::ALL);

fn stored(path: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)).unwrap()
}

fn symbols(kallsyms: &[u8]) -> Symbols {
    find(kallsyms, &[callers::wanted().as_slice(), FUNCTIONS, FTRACE_DIRECT].concat()).unwrap()
}

/// For a process that may do everything, on the kernel whose types these are.
fn facts(btf: &[u8], kallsyms: &[u8]) -> Facts {
    let system = machine::where_all_is_allowed(Release {
        release: "6.12".into(),
        version: String::new(),
        arch: String::new(),
    });
    Facts::from_parts(system, BtfFacts::told(Ok(btf)), &Ok(symbols(kallsyms)))
}

fn programs(plan: &Plan) -> Vec<&'static str> {
    plan.programs.iter().map(|program| program.name).collect()
}

fn names_of_programs(kernel: &str, facts: &Facts, backend: Backend) -> Plan {
    let of_gcc = self::facts(
        &stored(&format!("kernels/{kernel}/btf")),
        &stored(&format!("kernels/{kernel}/kallsyms")),
    );
    let (plan, wanted) =
        (plan(backend, facts, EVERYTHING).unwrap(), plan(backend, &of_gcc, EVERYTHING).unwrap());
    assert_eq!(programs(&plan), programs(&wanted), "{backend}");
    assert_eq!(plan.replaced, [""; 0], "{backend}");
    plan
}

#[test]
fn a_kernel_of_thinlto_is_watched_like_any_other() {
    let (btf, kallsyms) = (stored("kernels/6.12-x86_64/btf"), stored("kallsyms/thinlto"));
    let facts = facts(&btf, &kallsyms);
    let symbols = symbols(&kallsyms);
    let Found::One(handler) = symbols.function("tw_timer_handler") else { panic!("{symbols:?}") };
    assert_eq!(role(&handler.name), Role::Renamed);
    assert_eq!(symbols.pointer("tw_timer_handler"), Found::One(handler.start));
    let ranges = callers::resolve(&symbols);
    assert_eq!((ranges.undecided.len(), ranges.blind_spots.len()), (0, 0), "{:?}", ranges.blind_spots);
    let by_kprobe = names_of_programs("6.12-x86_64", &facts, Backend::Kprobe);
    assert!(by_kprobe.uses(Attach::Probe("tw_timer_handler")));
    assert_eq!(by_kprobe.names.symbol("tw_timer_handler"), handler.name);
    assert_eq!(by_kprobe.names.symbol("inet_twsk_kill"), "inet_twsk_kill");
    // The types of this kernel know the function by its name in the source.
    let by_fentry = names_of_programs("6.12-x86_64", &facts, Backend::Fentry);
    assert_eq!(by_fentry.names.type_name("tw_timer_handler"), "tw_timer_handler");
}

#[test]
fn a_pointer_is_that_of_the_jump_table() {
    let (btf, kallsyms) = (stored("kernels/6.12-aarch64/btf"), stored("kallsyms/cfi"));
    let symbols = symbols(&kallsyms);
    let Found::One(handler) = symbols.function("tw_timer_handler") else { panic!("{symbols:?}") };
    let entry = symbols.iter().find(|symbol| symbol.name == format!("{}.cfi_jt", handler.name)).unwrap();
    assert_eq!(symbols.pointer("tw_timer_handler"), Found::One(entry.start));
    let ranges = callers::resolve(&symbols);
    assert!(ranges.ranges.iter().all(|range| range.start != entry.start), "no frame lies there");
    assert_eq!((ranges.undecided.len(), ranges.blind_spots.len()), (0, 0), "{:?}", ranges.blind_spots);
    // A probe at the function sees calls that go through the table and calls that do not.
    let plan = names_of_programs("6.12-aarch64", &facts(&btf, &kallsyms), Backend::Kprobe);
    assert_eq!(plan.names.symbol("tw_timer_handler"), handler.name);
}

#[test]
fn of_twins_none_is_guessed() {
    let kallsyms = stored("kallsyms/twins");
    let facts = facts(&stored("kernels/6.12-x86_64/btf"), &kallsyms);
    assert!(
        matches!(symbols(&kallsyms).pointer("tw_timer_handler"), Found::Several(names) if names.len() == 2)
    );
    for backend in [Backend::Fentry, Backend::Kprobe] {
        let plan = plan(backend, &facts, EVERYTHING).unwrap();
        assert!(
            !plan.uses(Attach::Probe("tw_timer_handler")) && !plan.uses(Attach::Entry("tw_timer_handler"))
        );
        let said = plan.replaced.join("; ");
        assert!(said.contains("2 functions tw_timer_handler()") && said.contains(".llvm.42"), "{said}");
    }
}

/// pahole may give a function the symbol's name too: then a trampoline is attached by that.
#[test]
fn a_type_of_the_symbols_name_is_what_trampolines_want() {
    let (btf, kallsyms) = (stored("kernels/6.12-x86_64/btf"), stored("kallsyms/thinlto"));
    let symbols = symbols(&kallsyms);
    let Found::One(handler) = symbols.function("tw_timer_handler") else { panic!("{symbols:?}") };
    let btf = renamed(&btf, "tw_timer_handler", &handler.name);
    let plan = names_of_programs("6.12-x86_64", &facts(&btf, &kallsyms), Backend::Fentry);
    assert_eq!(plan.names.type_name("tw_timer_handler"), handler.name);
    assert_eq!(plan.names.type_name("inet_twsk_kill"), "inet_twsk_kill");
}

/// These types with a function of another name. Its name is put behind all others.
fn renamed(btf: &[u8], old: &str, new: &str) -> Vec<u8> {
    let word = |at: usize| u32::from_le_bytes(btf[at..at + 4].try_into().unwrap());
    let (header, strings, strings_len) = (word(4) as usize, word(16) as usize, word(20));
    let needle = format!("\0{old}\0");
    let string_section = &btf[header + strings..][..strings_len as usize];
    let at = string_section.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap() + 1;
    let mut changed = btf.to_vec();
    let types = header..header + strings;
    // The name is the first word of its type, whose second says that it is a function (kind 12).
    let place =
        types.step_by(4).find(|&place| word(place) as usize == at && word(place + 4) >> 24 & 31 == 12);
    changed[place.unwrap()..][..4].copy_from_slice(&strings_len.to_le_bytes());
    assert_eq!(header + strings + strings_len as usize, btf.len(), "the strings come last");
    changed.extend(new.as_bytes());
    changed.push(0);
    changed[20..24].copy_from_slice(&(strings_len + new.len() as u32 + 1).to_le_bytes());
    changed
}

//! The choice on made-up kernels: whatever is taken away, something takes over or it is said.

use super::*;
use crate::kernel::facts::{Untold, tests::able};

const EVERYTHING: Wants = Wants::kinds(Kind::ALL);

fn names(plan: &Plan) -> Vec<&'static str> {
    plan.programs.iter().map(|program| program.name).collect()
}

/// A kernel that has this function neither in BTF nor in kallsyms.
fn without(name: &str) -> Facts {
    let mut facts = able();
    if let Ok(btf) = &mut facts.btf {
        *btf.functions.get_mut(name).unwrap() = None;
    }
    if let Ok(symbols) = &mut facts.symbols {
        *symbols.get_mut(name).unwrap() = Found::Absent;
    }
    facts
}

fn without_trace_event(facts: &mut Facts, name: &str) {
    if let Ok(btf) = &mut facts.btf {
        *btf.trace_events.get_mut(name).unwrap() = None;
    }
}

#[test]
fn everything_there_means_nothing_replaced() {
    for backend in Backend::ALL {
        let plan = plan(backend, &able(), EVERYTHING).unwrap();
        assert_eq!((plan.replaced.as_slice(), plan.uncovered.as_slice()), (&[][..], &[][..]), "{backend}");
        assert!(names(&plan).contains(&"tp_timer_start") && names(&plan).contains(&"iter_tcp"));
    }
    let fentry = plan(Backend::Fentry, &able(), EVERYTHING).unwrap();
    assert!(
        matches!(&fentry.blind_spots[..], [only] if only.starts_with("half-open")),
        "{:?}",
        fentry.blind_spots
    );
    assert!(fentry.programs.iter().all(|program| !program.name.starts_with("kprobe")));
    assert_eq!(auto(&able(), EVERYTHING).unwrap().backend, Backend::Fentry);
}

#[test]
fn ends_are_watched_before_beginnings() {
    for backend in Backend::ALL {
        let plan = plan(backend, &able(), EVERYTHING).unwrap();
        let at = |serves| {
            let program = plan.program(serves).unwrap();
            plan.programs.iter().position(|other| *other == program).unwrap()
        };
        assert!(at(Serves::Ends) < at(Serves::Armings), "{backend}");
    }
}

/// The second program, which none but a view of state changes has.
const AGAIN: &str = "tp_inet_sock_set_state_again";

#[test]
fn a_second_program_comes_after_the_first() {
    for backend in Backend::ALL {
        let plan = plan(backend, &able(), EVERYTHING).unwrap();
        let names = names(&plan);
        let at = |name| names.iter().position(|other| *other == name).unwrap();
        let first = plan.program(Serves::States).unwrap().name;
        assert!(at(first) < at(AGAIN), "{backend}");
        assert_eq!([Missed::by(first), Missed::by(AGAIN)], [Missed::StateChange, Missed::Nothing]);
    }
    assert_eq!(Missed::by("fentry_inet_twsk_kill"), Missed::Event);
}

#[test]
fn a_view_pays_for_what_it_watches() {
    let of = |kinds: &[Kind]| names(&plan(Backend::Fentry, &able(), Wants::kinds(kinds)).unwrap());
    let [first, second, third] = ["fentry_tcp_set_state", "fentry_inet_sk_set_state", "fentry_listen"];
    assert_eq!(of(&[Kind::State]), [first, second, third, AGAIN]);
    let exits = of(&[Kind::TwExit]);
    assert!(!exits.contains(&"fentry_tcp_timewait_state_process"), "{exits:?}");
    let ownerless =
        names(&plan(Backend::Fentry, &able(), Wants::kinds(&[Kind::TwExit]).without_owners()).unwrap());
    assert_eq!(ownerless[..], exits[3..], "without the changes of state");
    let dwell = Wants::kinds(&[Kind::State, Kind::TwExit]).without_owners();
    let dwell = names(&plan(Backend::Fentry, &able(), dwell).unwrap());
    assert_eq!(dwell, [&exits[..3], &[AGAIN], &exits[3..]].concat());
    assert!(!exits.contains(&"fexit_inet_twsk_alloc") && exits.contains(&"fentry_inet_twsk_kill"));
}

/// Every function that any plan hangs on, taken away one by one: the plan names it, and what is lost with it.
#[test]
fn a_function_that_is_gone_is_replaced_or_named() {
    for backend in [Backend::Fentry, Backend::Kprobe] {
        let whole = plan(backend, &able(), EVERYTHING).unwrap();
        let functions = whole.programs.iter().filter_map(|program| program.attach.function());
        for function in functions {
            let plan = plan(backend, &without(function), EVERYTHING).unwrap();
            assert!(
                plan.programs.iter().all(|program| program.attach.function() != Some(function)),
                "{backend}, {function}"
            );
            let said: Vec<_> = plan.replaced.iter().chain(&plan.blind_spots).collect();
            assert!(said.iter().any(|text| text.contains(function)), "{backend}, {function}: {said:?}");
            assert_eq!(plan.uncovered, [""; 0], "{backend}, {function}");
        }
    }
}

#[test]
fn without_tcp_set_state_its_helper_tells_all_changes() {
    let plan = plan(Backend::Fentry, &without("tcp_set_state"), EVERYTHING).unwrap();
    assert!(names(&plan).starts_with(&["fentry_inet_sk_set_state", "fentry_inet_sk_state_store"]));
    assert_eq!(
        plan.replaced,
        ["state changes and owners: tcp_set_state() is not in kallsyms (inlined or renamed), so told from \
          inet_sk_set_state(), inet_sk_state_store()"]
    );
}

#[test]
fn ends_fall_back_to_timer_events_as_a_whole() {
    for gone in ["inet_twsk_kill", "tw_timer_handler", "__inet_twsk_schedule"] {
        let plan = plan(Backend::Kprobe, &without(gone), EVERYTHING).unwrap();
        assert!(plan.uses(Attach::TraceEvent("timer_cancel")), "{gone}");
        assert!(!plan.uses(Attach::Probe("inet_twsk_kill")), "{gone}");
        assert_eq!(plan.mode(), mode_bits::KEYLESS, "{gone}");
        assert!(plan.blind_spots.iter().any(|spot| spot.contains("same wheel slot")), "{gone}");
    }
}

#[test]
fn what_nothing_counts_is_uncovered() {
    let mut facts = without("inet_sk_set_state");
    without_trace_event(&mut facts, "inet_sock_set_state");
    for backend in [Backend::Fentry, Backend::Kprobe] {
        let plan = plan(backend, &facts, EVERYTHING).unwrap();
        assert!(plan.uncovered[0].starts_with("LISTEN, and the SYN_RECV"), "{:?}", plan.uncovered);
        assert!(plan.blind_spots.contains(&plan.uncovered[0]));
    }
    assert!(plan(Backend::Tracepoint, &facts, EVERYTHING).unwrap_err().reasons[0].contains("no owners"));
    let mut facts = able();
    facts.btf.as_mut().unwrap().iter_tcp = false;
    let plan = plan(Backend::Tracepoint, &facts, EVERYTHING).unwrap();
    assert_eq!(plan.uncovered.len(), 1);
    assert!(plan.uncovered[0].contains("before the start") && plan.uncovered[0].contains("no BPF iterator"));
}

#[test]
fn what_a_kernel_hides_is_a_blind_spot_of_every_backend() {
    let mut facts = able();
    let hides = |facts: &Facts, backend| {
        let plan = plan(backend, facts, EVERYTHING).unwrap();
        plan.blind_spots.iter().any(|spot| spot.contains("kernel.init_private"))
    };
    assert!(Backend::ALL.iter().all(|&backend| !hides(&facts, backend)));
    facts.system.init_private = true;
    assert!(Backend::ALL.iter().all(|&backend| hides(&facts, backend)));
}

#[test]
fn of_unknown_types_nothing_is_said_to_be_missing() {
    let mut facts = able();
    facts.btf = Err(Untold("they cannot be read".to_owned()));
    let refusals = auto(&facts, EVERYTHING).unwrap_err();
    let said: Vec<_> = refusals.iter().flat_map(|refusal| &refusal.reasons).collect();
    assert_eq!(said, ["they cannot be read: no kernel field can be found"; 3]);
}

#[test]
fn without_timer_events_no_backend_works() {
    let mut facts = able();
    without_trace_event(&mut facts, "timer_start");
    let refusals = auto(&facts, EVERYTHING).unwrap_err();
    assert_eq!(refusals.len(), 3);
    assert!(refusals.iter().all(|refusal| refusal.reasons[0].contains("BTF trace event timer_start")));
}

#[test]
fn a_function_of_another_shape_is_left_alone() {
    let mut facts = able();
    facts.btf.as_mut().unwrap().functions.insert("__inet_twsk_schedule", Some(4));
    for backend in [Backend::Fentry, Backend::Kprobe] {
        let plan = plan(backend, &facts, EVERYTHING).unwrap();
        assert!(
            plan.replaced[0].contains("__inet_twsk_schedule() takes 4 parameters"),
            "{:?}",
            plan.replaced
        );
    }
    facts.btf.as_mut().unwrap().functions.insert("tcp_timewait_state_process", Some(6));
    let plan = plan(Backend::Fentry, &facts, EVERYTHING).unwrap();
    assert!(
        names(&plan).contains(&"fentry_tcp_timewait_state_process"),
        "what follows the third is not read"
    );
}

#[test]
fn a_backend_without_functions_is_no_function_backend() {
    let mut facts = able();
    let gone: Vec<_> = facts.btf.as_ref().unwrap().functions.keys().copied().collect();
    for name in gone {
        facts.btf.as_mut().unwrap().functions.insert(name, None);
        facts.symbols.as_mut().unwrap().insert(name, Found::Absent);
    }
    let refusal = plan(Backend::Fentry, &facts, EVERYTHING).unwrap_err().to_string();
    assert!(refusal.contains("tcp_set_state() is not in kallsyms"), "{refusal}");
    assert!(refusal.ends_with("use --backend tracepoint"), "{refusal}");
    assert_eq!(auto(&facts, EVERYTHING).unwrap().backend, Backend::Tracepoint);
}

#[test]
fn what_the_kernel_refused_is_not_tried_again() {
    let mut facts = able();
    facts.refused.programs.insert("fentry_listen", "EINVAL".into());
    let plan = plan(Backend::Fentry, &facts, EVERYTHING).unwrap();
    assert!(names(&plan).contains(&"fentry_inet_sk_state_store") && !names(&plan).contains(&"fentry_listen"));
    assert!(plan.replaced[0].contains("EINVAL"));
    facts.refused.backends.insert("fentry", "EPERM".into());
    assert_eq!(auto(&facts, EVERYTHING).unwrap().backend, Backend::Kprobe);
    let refusal = super::plan(Backend::Fentry, &facts, EVERYTHING).unwrap_err();
    assert!(refusal.to_string().contains("EPERM"));
}

#[test]
fn cookies_are_used_where_programs_may_ask_for_them() {
    let mode = |facts: &Facts, backend| plan(backend, facts, EVERYTHING).unwrap().mode();
    assert_eq!(mode(&able(), Backend::Fentry), mode_bits::FUNCTIONS);
    assert_eq!(mode(&able(), Backend::Kprobe), mode_bits::FUNCTIONS | mode_bits::KEYLESS);
    assert_eq!(mode(&able(), Backend::Tracepoint), 0);
    let mut old = able();
    old.btf.as_mut().unwrap().cookies = false;
    assert_eq!(mode(&old, Backend::Fentry), mode_bits::FUNCTIONS | mode_bits::KEYLESS);
    assert_eq!(mode(&old, Backend::Tracepoint), mode_bits::KEYLESS);
    let plan = plan(Backend::Tracepoint, &old, EVERYTHING).unwrap();
    assert!(plan.blind_spots.iter().any(|spot| spot.contains("Linux 5.12")), "{:?}", plan.blind_spots);
}

#[test]
fn only_overflows_need_a_function() {
    let overflow = Wants::kinds(&[Kind::TwOverflow]);
    let refusal = plan(Backend::Tracepoint, &able(), overflow).unwrap_err().to_string();
    assert!(refusal.contains("one by one"), "{refusal}");
    assert!(names(&plan(Backend::Fentry, &able(), overflow).unwrap()).contains(&"fexit_inet_twsk_alloc"));
}

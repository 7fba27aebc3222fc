//! Facts from stored BTF and kallsyms, and of the running kernel.

use std::path::Path;

use super::*;
use crate::kernel::btf::tests::Blob;
use crate::kernel::capability::Capabilities;
use crate::kernel::kallsyms;
use crate::kernel::plan::Backend;
use crate::kernel::prepare::Prepared;
use crate::kernel::tick::Tick;

pub(crate) fn system() -> System {
    System {
        release: Release { release: "6.12.0".into(), version: "#1 SMP".into(), arch: "x86_64".into() },
        tick: Ok(Tick { ns: 4_000_000, hz: 250 }),
        capabilities: Ok(Capabilities { effective: 0, initial_user_ns: true }),
        lockdown: Ok("none".into()),
        sysfs: true,
        kprobe_events: Ok(true),
        function_tracing: Err(Untold("tracefs: not permitted".into())),
        init_private: false,
    }
}

fn stored_btf() -> Vec<u8> {
    let mut blob = Blob::new();
    blob.func("tcp_set_state", 2);
    blob.func("bpf_iter_tcp", 1);
    blob.func("register_kprobe", 1);
    blob.trace_event("inet_sock_set_state", 3);
    blob.trace_event("timer_start", 2);
    blob.strukt("bpf_ringbuf", 64, &[]);
    blob.bytes()
}

#[test]
fn stored_btf_and_kallsyms_are_enough() {
    let symbols =
        kallsyms::find(&b"ffffffff81000000 T tcp_set_state\nffffffff81000100 T _etext\n"[..], FUNCTIONS);
    let facts = Facts::from_parts(system(), BtfFacts::told(Ok(&stored_btf())), &symbols);
    let btf = facts.btf.as_ref().unwrap();
    assert_eq!(btf.trace_events["timer_start"], Some(2));
    assert_eq!(btf.trace_events["timer_cancel"], None);
    assert!(btf.ring_buffer && btf.iter_tcp && btf.kprobes && !btf.tw_kill && !btf.ftrace_direct);
    assert!(btf.offsets.is_err());
    assert_eq!(facts.addresses, Ok(true));
    let told = |name: &str| {
        let function = facts.function(name);
        (function.params.unwrap(), function.symbol.unwrap(), function.type_name)
    };
    let [known, gone] = ["tcp_set_state", "tcp_abort"].map(str::to_owned);
    assert_eq!(told(&known), (Some(2), Found::One(known.clone()), known.clone()));
    assert_eq!(told(&gone), (None, Found::Absent, gone.clone()));
}

#[test]
fn names_are_told_where_addresses_are_hidden() {
    let symbols = kallsyms::find(&b"0000000000000000 T tcp_set_state\n"[..], FUNCTIONS);
    let facts = Facts::from_parts(system(), Err(Untold("no BTF".into())), &symbols);
    assert_eq!(facts.addresses, Ok(false));
    assert_eq!(facts.function("tcp_set_state").symbol, Ok(Found::One("tcp_set_state".to_owned())));
    assert_eq!(facts.function("tcp_set_state").params, Err(Untold("no BTF".into())));
}

/// A kernel with everything, and a process that may use it.
pub(crate) fn able() -> Facts {
    let btf = BtfFacts {
        offsets: Ok(Resolved { offsets: tw_trace_common::fields::Offsets::NONE, absent: Vec::new() }),
        trace_events: TRACE_EVENTS.iter().map(|name| (*name, Some(2))).collect(),
        functions: FUNCTIONS.iter().map(|name| (*name, Some(params_of(name)))).collect(),
        renamed: BTreeMap::new(),
        ring_buffer: true,
        iter_tcp: true,
        tw_kill: false,
        ftrace_direct: true,
        kprobes: true,
        cookies: true,
    };
    let mut system = system();
    system.capabilities = Ok(Capabilities { effective: u64::MAX, initial_user_ns: true });
    system.function_tracing = Ok(true);
    let symbols = FUNCTIONS.iter().map(|name| (*name, Found::One((*name).to_owned()))).collect();
    Facts { system, btf: Ok(btf), symbols: Ok(symbols), addresses: Ok(true), refused: Refused::default() }
}

/// As in 6.12.
fn params_of(name: &str) -> u32 {
    match name {
        "tcp_set_state" | "inet_sk_set_state" | "inet_sk_state_store" => 2,
        "__inet_twsk_schedule" | "inet_twsk_alloc" | "tcp_time_wait" => 3,
        "tcp_timewait_state_process" => 4,
        _ => 1,
    }
}

#[test]
fn nothing_is_missing_where_everything_is_there() {
    for backend in Backend::ALL {
        assert_eq!(able().missing_for(backend), [""; 0], "{backend}");
    }
}

#[test]
fn what_is_missing_is_named_with_the_next_step() {
    let missing = |change: fn(&mut Facts), backend| {
        let mut facts = able();
        change(&mut facts);
        facts.missing_for(backend).join("; ")
    };
    let unprivileged = |facts: &mut Facts| {
        facts.system.capabilities = Ok(Capabilities { effective: 1 << 39, initial_user_ns: true });
    };
    let text = missing(unprivileged, Backend::Kprobe);
    assert!(
        text.contains("CAP_PERFMON") && !text.contains("CAP_BPF is") && text.contains("setcap"),
        "{text}"
    );
    let rootless = |facts: &mut Facts| {
        facts.system.capabilities = Ok(Capabilities { effective: u64::MAX, initial_user_ns: false });
    };
    assert!(missing(rootless, Backend::Fentry).contains("user namespace"));
    let hidden = |facts: &mut Facts| facts.addresses = Ok(false);
    assert!(missing(hidden, Backend::Tracepoint).contains("CAP_SYSLOG"));
    assert!(missing(hidden, Backend::Fentry).contains("time-wait timers cannot be told"));
    let locked = |facts: &mut Facts| facts.system.lockdown = Ok("confidentiality".into());
    assert!(missing(locked, Backend::Tracepoint).contains("lockdown"));
    let refused = |facts: &mut Facts| facts.system.function_tracing = Ok(false);
    assert!(missing(refused, Backend::Fentry).contains("EPERM"));
    assert_eq!(missing(refused, Backend::Tracepoint), "");
    let no_kprobes = |facts: &mut Facts| facts.system.kprobe_events = Ok(false);
    assert!(missing(no_kprobes, Backend::Kprobe).contains("CONFIG_KPROBE_EVENTS"));
    let no_sys = |facts: &mut Facts| {
        facts.system.sysfs = false;
        facts.system.kprobe_events = Err(Untold("/sys is not mounted".into()));
        facts.btf = Err(Untold("no BTF here".into()));
    };
    for backend in Backend::ALL {
        let text = missing(no_sys, backend);
        assert!(text.contains("/sys is not mounted") && text.contains("mount -t sysfs"), "{text}");
        assert!(!text.contains("CONFIG_") && !text.contains("no BTF"), "one cause, one reason: {text}");
    }
    let no_btf = |facts: &mut Facts| facts.btf = Err(Untold("no BTF here".into()));
    assert!(missing(no_btf, Backend::Kprobe).contains("no BTF here"));
}

#[test]
fn this_kernel_can_be_asked() {
    let facts = Prepared::read(None).unwrap().facts;
    assert!(facts.system.tick.is_ok() && facts.system.capabilities.is_ok());
    assert_ne!(facts.system.release.release, "?");
}

#[test]
fn a_btf_file_that_is_not_there_is_wrong_usage() {
    let said = Prepared::read(Some(Path::new("/nonexistent"))).err().unwrap().to_string();
    assert!(said.starts_with("--btf /nonexistent: No such file"), "{said}");
}

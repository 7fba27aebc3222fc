//! Doctor's report as one JSON object. What could not be told is null, and `untold` says why.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tw_trace_common::fields::FIELDS;

use super::{Report, settings};
use crate::kernel::capability::Capability;
use crate::kernel::facts::{BtfFacts, FUNCTIONS, Told};
use crate::kernel::function_name::Found;

/// Version of the object's form; changes only add keys.
const SCHEMA: u32 = 1;

/// Collects why values are null.
#[derive(Default)]
struct Reasons(Map<String, Value>);

impl Reasons {
    fn told<T>(&mut self, key: &str, value: &Told<T>, form: impl Fn(&T) -> Value) -> Value {
        match value {
            Ok(value) => form(value),
            Err(untold) => {
                self.0.insert(key.to_owned(), untold.0.clone().into());
                Value::Null
            }
        }
    }
}

pub(super) fn value(report: &Report) -> Value {
    let facts = &report.facts;
    let system = &facts.system;
    let mut reasons = Reasons::default();
    let tick = reasons.told("tick", &system.tick, |tick| json!({ "hz": tick.hz, "ns": tick.ns }));
    let wheel = reasons.told("wheel", &system.tick, |tick| {
        let rounding = settings::Rounding::of(settings::EXAMPLE_SECONDS, *tick);
        json!({
            "timer_ns": settings::EXAMPLE_SECONDS * 1_000_000_000,
            "level": rounding.level,
            "granularity_ns": rounding.granularity_ns,
            "effect": settings::wheel(*tick),
        })
    });
    let capabilities = reasons.told("capabilities", &system.capabilities, |capabilities| {
        Capability::ALL
            .iter()
            .map(|wanted| (wanted.name().to_owned(), Value::from(capabilities.has(*wanted))))
            .collect()
    });
    let lockdown = reasons.told("lockdown", &system.lockdown, |level| level.as_str().into());
    let tracing = reasons.told("function_tracing", &system.function_tracing, |allowed| (*allowed).into());
    let kprobe_events = reasons.told("kprobe_events", &system.kprobe_events, |there| (*there).into());
    let btf = reasons.told("btf", &facts.btf, btf);
    let addresses = reasons.told("kallsyms_addresses", &facts.addresses, |told| (*told).into());
    let counters = reasons.told(
        "counters",
        &report.counters,
        |counters| json!({ "tw": counters.tw, "tcp_ext": counters.tcp_ext }),
    );
    json!({
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "kernel": {
            "release": system.release.release,
            "version": system.release.version,
            "arch": system.release.arch,
        },
        "tick": tick,
        "btf": btf,
        "capabilities": capabilities,
        "lockdown": lockdown,
        "kprobe_events": kprobe_events,
        "function_tracing": tracing,
        "kallsyms_addresses": addresses,
        "functions": functions(report),
        "backends": backends(report),
        "auto": report.auto,
        "programs": report.programs,
        "wheel": wheel,
        "settings": settings(report),
        "counters": counters,
        "usable": report.usable(),
        "untold": reasons.0,
    })
}

fn btf(btf: &BtfFacts) -> Value {
    let absent = |resolved: &crate::kernel::offsets::Resolved| -> Vec<String> {
        resolved.absent.iter().map(|field| format!("{}.{}", field.of, field.path)).collect()
    };
    json!({
        "fields": FIELDS.len(),
        "absent": btf.offsets.as_ref().map(absent).unwrap_or_default(),
        "missing": btf.offsets.as_ref().err().map(ToString::to_string),
        "trace_events": btf.trace_events,
        "ring_buffer": btf.ring_buffer,
        "iter_tcp": btf.iter_tcp,
        "ftrace_direct": btf.ftrace_direct,
        "kprobes": btf.kprobes,
        "tw_counted_at": if btf.tw_kill { "firing" } else { "arming" },
    })
}

fn functions(report: &Report) -> Value {
    let entry = |name: &&str| {
        let function = report.facts.function(name);
        let told = json!({
            "btf": function.params.as_ref().ok().map(Option::is_some),
            "params": function.params.ok().flatten(),
            "kallsyms": function.symbol.as_ref().ok().map(|found| !matches!(found, Found::Absent)),
            "symbols": function.symbol.ok().map(symbols),
        });
        ((*name).to_owned(), told)
    };
    Value::Object(FUNCTIONS.iter().map(entry).collect())
}

/// The names in kallsyms: none, the one that is used, or several that are not told apart.
fn symbols(found: Found<String>) -> Vec<String> {
    match found {
        Found::Absent => Vec::new(),
        Found::One(symbol) => vec![symbol],
        Found::Several(symbols) => symbols,
    }
}

fn backends(report: &Report) -> Vec<Value> {
    let entry = |backend: &super::BackendReport| {
        json!({
            "name": backend.name,
            "usable": backend.usable,
            "why_not": backend.why_not,
            "blind_spots": backend.blind_spots,
            "replaced": backend.replaced,
            "programs": backend.programs.iter().map(|(name, place)| (*name, place.as_str())).collect::<BTreeMap<_, _>>(),
        })
    };
    report.backends.iter().map(entry).collect()
}

fn settings(report: &Report) -> Value {
    let entry = |setting: settings::Setting| {
        (setting.name.to_owned(), json!({ "value": setting.value, "effect": setting.effect }))
    };
    Value::Object(settings::all(&report.sysctls, &report.counters).into_iter().map(entry).collect())
}

//! Doctor's report for people.

use std::fmt::Display;
use std::io::{self, Write};

use tw_trace_common::fields::{FIELDS, Need};

use super::{Report, settings};
use crate::kernel::capability::Capability;
use crate::kernel::facts::{BtfFacts, Facts, Told};
use crate::kernel::function_name::Found;

pub(super) fn render(report: &Report, out: &mut impl Write) -> io::Result<()> {
    kernel(&report.facts, out)?;
    backends(report, out)?;
    symbols(&report.facts, out)?;
    settings_section(report, out)
}

fn row(out: &mut impl Write, name: &str, value: impl Display) -> io::Result<()> {
    writeln!(out, "  {name:<16} {value}")
}

/// The value, or why it cannot be told.
fn told<T>(value: &Told<T>, text: impl Fn(&T) -> String) -> String {
    match value {
        Ok(value) => text(value),
        Err(untold) => untold.to_string(),
    }
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn kernel(facts: &Facts, out: &mut impl Write) -> io::Result<()> {
    let system = &facts.system;
    writeln!(out, "Kernel")?;
    row(
        out,
        "release",
        format_args!("{} {} {}", system.release.release, system.release.version, system.release.arch),
    )?;
    let tick = told(&system.tick, |tick| format!("{} (measured: a jiffy is {} ns)", tick.hz, tick.ns));
    row(out, "HZ", tick)?;
    row(out, "BTF", told(&facts.btf, fields))?;
    row(out, "ring buffer", told(&facts.btf, |btf| yes_no(btf.ring_buffer).to_owned()))?;
    row(out, "iter/tcp", told(&facts.btf, |btf| yes_no(btf.iter_tcp).to_owned()))?;
    row(out, "trace events", told(&facts.btf, trace_events))?;
    row(out, "kprobe events", told(&system.kprobe_events, |there| yes_no(*there).to_owned()))?;
    row(
        out,
        "function tracing",
        told(&system.function_tracing, |allowed| {
            if *allowed { "yes".to_owned() } else { "refused by the kernel (EPERM)".to_owned() }
        }),
    )?;
    row(out, "lockdown", told(&system.lockdown, Clone::clone))?;
    row(
        out,
        "TcpExt TW",
        told(&facts.btf, |btf| {
            if btf.tw_kill { "counted when the timer fires" } else { "counted when the timer is first armed" }
                .to_owned()
        }),
    )?;
    row(
        out,
        "capabilities",
        told(&system.capabilities, |capabilities| {
            let (has, lacks): (Vec<_>, Vec<_>) =
                Capability::ALL.iter().partition(|wanted| capabilities.has(**wanted));
            let list = |names: &[&Capability]| match names {
                [] => "none".to_owned(),
                names => names.iter().map(|capability| capability.name()).collect::<Vec<_>>().join(" "),
            };
            format!("{}; without {}", list(&has), list(&lacks))
        }),
    )?;
    row(
        out,
        "kallsyms",
        told(&facts.addresses, |told| {
            if *told {
                "tells addresses"
            } else {
                "hides addresses (needs CAP_SYSLOG, or kernel.kptr_restrict 0 or 1)"
            }
            .to_owned()
        }),
    )
}

fn fields(btf: &BtfFacts) -> String {
    match &btf.offsets {
        Err(missing) => missing.to_string(),
        Ok(resolved) if resolved.absent.is_empty() => format!("all {} fields found", FIELDS.len()),
        Ok(resolved) => {
            let absent = resolved.absent.iter().map(|field| match field.need {
                Need::Optional(lost) => format!("{}.{}, so not told: {lost}", field.of, field.path),
                Need::Required => format!("{}.{}", field.of, field.path),
            });
            format!("all required fields found; absent: {}", absent.collect::<Vec<_>>().join("; "))
        }
    }
}

fn trace_events(btf: &BtfFacts) -> String {
    let events = btf.trace_events.iter().map(|(name, args)| match args {
        Some(args) => format!("{name}({args})"),
        None => format!("no {name}"),
    });
    events.collect::<Vec<_>>().join(" ")
}

fn backends(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nBackends")?;
    for backend in &report.backends {
        let verdict = backend.why_not.as_ref().map_or("usable".to_owned(), |why| format!("no: {why}"));
        row(out, backend.name, verdict)?;
        let places: Vec<_> = backend.programs.iter().map(|(_, place)| place.as_str()).collect();
        if !places.is_empty() {
            row(out, "", format_args!("watches: {}", places.join(", ")))?;
        }
        for instead in &backend.replaced {
            row(out, "", format_args!("instead: {instead}"))?;
        }
        for spot in &backend.blind_spots {
            row(out, "", format_args!("cannot see: {spot}"))?;
        }
    }
    match report.auto {
        Some(name) => row(out, "auto takes", format_args!("{name}: {}", report.programs.join(" "))),
        None => row(out, "auto takes", "none: tw-trace cannot trace here"),
    }
}

fn symbols(facts: &Facts, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nFunctions (in BTF, with how many parameters; in kallsyms)")?;
    for name in crate::kernel::facts::FUNCTIONS {
        let function = facts.function(name);
        let in_btf = match function.params {
            Ok(Some(params)) => format!("takes {params}"),
            Ok(None) => "no".to_owned(),
            Err(_) => "unknown".to_owned(),
        };
        let in_symbols = match function.symbol {
            Ok(Found::Absent) => "no".to_owned(),
            Ok(Found::One(symbol)) if symbol == *name => "yes".to_owned(),
            Ok(Found::One(symbol)) => format!("yes, as {symbol}"),
            Ok(Found::Several(symbols)) => format!("several: {}", symbols.join(", ")),
            Err(_) => "unknown".to_owned(),
        };
        writeln!(out, "  {name:<30} {in_btf:<8} {in_symbols}")?;
    }
    Ok(())
}

fn settings_section(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nTIME_WAIT (this network namespace)")?;
    writeln!(
        out,
        "  How long TIME_WAIT is asked to last is compiled into the kernel (60 s unless a vendor changed it); \
         tw-trace reads it from each timer."
    )?;
    row(out, "timer wheel", told(&report.facts.system.tick, |tick| settings::wheel(*tick)))?;
    for setting in settings::all(&report.sysctls, &report.counters) {
        writeln!(out, "  {} = {}", setting.name, setting.value.replace('\t', " "))?;
        writeln!(out, "      {}", setting.effect)?;
    }
    Ok(())
}

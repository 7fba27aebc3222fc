//! The figures of all rounds for programs: everything that was measured, nothing left out.

use serde_json::{Value, json};

use super::Results;
use super::load::Load;
use super::memory::Memory;
use super::programs::Runs;
use super::round::Traced;
use super::table::median;

pub(super) fn json(results: &Results<'_>) -> Value {
    let subjects = results.subjects.iter().enumerate().map(|(place, subject)| {
        let rounds = results.of(place);
        let runs = results.statistics.get(place).map(Vec::as_slice).unwrap_or_default();
        json!({
            "name": subject.name,
            "version": subject.version,
            "rate_kept": median(rounds.iter().map(|traced| traced.kept())),
            "rounds": rounds.iter().map(|traced| round(traced)).collect::<Vec<_>>(),
            "programs": runs.iter().map(|runs| program(runs, results.offer.connections)).collect::<Vec<_>>(),
        })
    });
    json!({
        "connections": results.offer.connections,
        "pairs": results.offer.pairs,
        "per_second_offered": results.offer.per_second,
        "standing": results.offer.standing,
        "missing": results.missing,
        "subjects": subjects.collect::<Vec<_>>(),
    })
}

fn round(traced: &Traced) -> Value {
    let measured = &traced.measured;
    json!({
        "rate_kept": traced.kept(),
        "added_kernel_us": traced.added(|load| load.machine.kernel),
        "added_user_us": traced.added(|load| load.machine.user),
        "added_by_processes_us": traced.added_by_processes(),
        "load": load(&measured.load),
        "untraced": traced.untraced.each_ref().map(load),
        "user_s_per_100k": measured.user,
        "system_s_per_100k": measured.system,
        "busy_us": measured.busy.as_secs_f64() * 1e6 ,
        "ready_ms": measured.ready.as_secs_f64() * 1e3,
        "own_peak_kib": Memory::own_peak(measured.memory.each_ref()),
        "memory_when_ready": memory(&measured.memory[0]),
        "memory_after_load": memory(&measured.memory[1]),
        "told": measured.account.and_then(|account| account.told),
        "made": measured.account.and_then(|account| account.made),
        "lost": measured.account.map(|account| account.lost),
        "balanced": measured.account.and_then(|account| account.balanced),
    })
}

fn load(load: &Load) -> Value {
    json!({
        "per_second": load.rate,
        "machine_kernel_us": load.machine.kernel,
        "machine_user_us": load.machine.user,
        "process_cpu_us": load.process_us,
        "others_before": load.others,
    })
}

fn memory(memory: &Memory) -> Value {
    json!({
        "own_kib": memory.own,
        "mapped_maps_kib": memory.mapped_maps,
        "peak_kib": memory.peak,
        "maps_kib": memory.maps,
    })
}

fn program(program: &Runs, connections: u32) -> Value {
    json!({
        "name": program.name,
        "runs_per_connection": program.runs as f64 / f64::from(connections),
        "ns_per_run": (program.runs > 0).then(|| program.ns as f64 / program.runs as f64),
    })
}

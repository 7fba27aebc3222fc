//! The prediction as one JSON object, as docs/model.schema.json has it.

use serde_json::{Value, json};

use super::Report;
use crate::collector::Spread;
use crate::model::compare::{Comparison, Of};
use crate::model::{Distribution, Inputs, Timing};
use crate::sink::histogram::bars;

/// The version of the keys. Adding keys does not change it.
const SCHEMA: u64 = 1;

pub(crate) fn value(report: &Report) -> Value {
    let prediction = &report.prediction;
    let timer = prediction.timer;
    let mut value = json!({
        "event": "model",
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "inputs": inputs(&report.inputs),
        "assumed": report.assumed,
        "timer": {
            "kind": report.inputs.generation.name(),
            "level": match timer.place {
                Timing::Wheel { level, .. } => Some(level),
                Timing::Exact | Timing::Slow { .. } | Timing::Recycle { .. } => None,
            },
            "timeout_jiffies": timer.timeout_jiffies,
            "granularity_ns": timer.granularity_ns(),
            "bounds_ns": {"min": timer.bounds_ns.0, "max": timer.bounds_ns.1},
        },
        "sockets": prediction.sockets,
        "duration_ns": figures(&prediction.durations),
        "population": {"steady": prediction.population.steady, "peak": prediction.population.peak},
        "bursts": {
            "number": prediction.bursts.sizes.count(),
            "interval_ns": prediction.bursts.interval_ns,
            "sizes": figures(&prediction.bursts.sizes),
        },
        "histogram": histogram(prediction.durations.values()),
        "why": report.why,
    });
    if let Some(comparison) = &report.comparison {
        value["compare"] = compared(comparison);
    }
    value
}

fn inputs(inputs: &Inputs) -> Value {
    json!({
        "kernel": inputs.kernel,
        "hz": inputs.tick.hz,
        "tick_ns": inputs.tick.ns,
        "timeout_ns": inputs.timeout_ns,
        "rate": inputs.load.rate,
        "burst": if inputs.load.burst == 0 { None } else { Some(inputs.load.burst) },
        "duration_ns": inputs.load.duration_ns,
        "cpus": inputs.cpus,
        "seed": inputs.seed,
    })
}

fn figures(of: &Distribution) -> Value {
    json!({
        "min": of.min(),
        "p50": of.percentile(50),
        "p90": of.percentile(90),
        "p99": of.percentile(99),
        "max": of.max(),
    })
}

/// As in a summary: `[upper end, count]`.
fn histogram(values: &[(u64, u64)]) -> Vec<[u64; 2]> {
    bars(values).into_iter().map(|bar| [bar.high_ns, bar.count]).collect()
}

fn compared(comparison: &Comparison) -> Value {
    let spread = |spread: Spread| {
        json!({
            "sockets": spread.count,
            "min": spread.min_ns,
            "p50": spread.p50_ns,
            "p90": spread.p90_ns,
            "p99": spread.p99_ns,
            "max": spread.max_ns,
        })
    };
    let departures: Vec<_> = comparison
        .departures
        .iter()
        .map(|found| json!({"cause": found.cause, "sockets": found.sockets, "text": found.text}))
        .collect();
    json!({
        "of": match comparison.of {
            Of::Expired => "expired",
            Of::AllEnds => "all",
        },
        "duration_ns": comparison.measured.map(spread),
        "histogram": histogram(&comparison.values),
        "bursts": comparison.bursts,
        "placed": comparison.placed,
        "misplaced": comparison.misplaced,
        "departures": departures,
    })
}

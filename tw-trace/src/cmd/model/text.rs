//! The prediction as text with a picture of the distribution.

use std::fmt::{Result, Write as _};

use super::Report;
use crate::collector::Spread;
use crate::model::compare::{Comparison, Of};
use crate::model::{Distribution, Generation, Inputs, Prediction};
use crate::sink::fmt::{duration, round};
use crate::sink::histogram::{bars, columns, label, write_bars};

pub(crate) fn text(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write(&mut text, report);
    text
}

fn write(text: &mut String, report: &Report) -> Result {
    writeln!(text, "{}", heading(&report.inputs))?;
    for assumed in &report.assumed {
        writeln!(text, "assumed: {assumed}")?;
    }
    let prediction = &report.prediction;
    match &report.comparison {
        None => {
            writeln!(
                text,
                "\nTime in TIME_WAIT of {} sockets: {}\n",
                prediction.sockets,
                figures(&prediction.durations)
            )?;
            write_bars(text, &bars(prediction.durations.values()))?;
        }
        Some(comparison) => write_comparison(text, prediction, comparison)?,
    }
    writeln!(text)?;
    write_population(text, prediction)?;
    writeln!(text, "\n{}\n{}", report.why[0], report.why[1])?;
    if let Some(comparison) = &report.comparison {
        write_departures(text, comparison)?;
    }
    Ok(())
}

/// "Linux 6.12, HZ=250: 60 s timers on the timer wheel, 1000 closes a second for ever, 1 CPU"
fn heading(inputs: &Inputs) -> String {
    let on = match inputs.generation {
        Generation::DeathRow => "on the death row (up to 4.0)",
        Generation::Cascading => "on the cascading wheel (4.1 – 4.7)",
        Generation::Wheel => "on the timer wheel (since 4.8)",
    };
    let mut load = Vec::new();
    if inputs.load.burst > 0 {
        load.push(format!("{} closes at once", inputs.load.burst));
    }
    if let Some(rate) = inputs.load.rate {
        let long = inputs.load.duration_ns.map_or("for ever".to_owned(), |ns| format!("for {}", round(ns)));
        load.push(format!("{} closes a second {long}", (rate * 1_000.0).round() / 1_000.0));
    }
    let cpus = if inputs.cpus == 1 { "1 CPU".to_owned() } else { format!("{} CPUs", inputs.cpus) };
    let (kernel, hz, timeout) = (&inputs.kernel, inputs.tick.hz, round(inputs.timeout_ns));
    format!("Linux {kernel}, HZ={hz}: {timeout} timers {on}, {}, {cpus}", load.join(" and then "))
}

fn figures(of: &Distribution) -> String {
    if of.min() == of.max() {
        return format!("{} each", duration(of.min()));
    }
    let at = |percent| duration(of.percentile(percent));
    format!(
        "{} to {}, half of them up to {}, 90% {}, 99% {}",
        duration(of.min()),
        duration(of.max()),
        at(50),
        at(90),
        at(99)
    )
}

fn write_population(text: &mut String, prediction: &Prediction) -> Result {
    let population = prediction.population;
    match population.steady {
        Some(steady) => {
            writeln!(text, "In TIME_WAIT at once: {steady} on average, {} at most", population.peak)?;
        }
        None => writeln!(text, "In TIME_WAIT at once: {} at most", population.peak)?,
    }
    let sizes = &prediction.bursts.sizes;
    let every =
        prediction.bursts.interval_ns.map_or(String::new(), |ns| format!(", one every {}", round(ns)));
    let each = if sizes.min() == sizes.max() {
        format!("{} sockets each", sizes.min())
    } else {
        format!("{} – {} sockets, half of them up to {}", sizes.min(), sizes.max(), sizes.percentile(50))
    };
    writeln!(text, "Bursts: {}{every}; {each}", sizes.count())
}

fn write_comparison(text: &mut String, prediction: &Prediction, comparison: &Comparison) -> Result {
    let of = match comparison.of {
        Of::Expired => "expired sockets",
        Of::AllEnds => "sockets, whatever ended them (the run has no lines of its own for each)",
    };
    let Some(measured) = comparison.measured else {
        writeln!(
            text,
            "\nNo socket of the run expired with a time that is exactly known: nothing to compare."
        )?;
        return write_bars(text, &bars(prediction.durations.values()));
    };
    writeln!(text, "\nTime in TIME_WAIT of {} {of}:\n", measured.count)?;
    write_table(text, &prediction.durations, measured)?;
    write_both(text, prediction, comparison)?;
    if comparison.placed > 0 {
        writeln!(
            text,
            "\n{} of {} timers sat in the very slot that the model names.",
            comparison.placed - comparison.misplaced,
            comparison.placed
        )?;
    }
    let sockets: u64 = comparison.bursts.iter().map(|(size, count)| size * count).sum();
    match (comparison.bursts.first(), comparison.bursts.last()) {
        (Some((least, _)), Some((most, _))) => {
            let bursts: u64 = comparison.bursts.iter().map(|(_, count)| count).sum();
            writeln!(text, "They ended in {bursts} bursts of {least} – {most} sockets, {sockets} in all.")
        }
        _ => Ok(()),
    }
}

fn write_table(text: &mut String, predicted: &Distribution, measured: Spread) -> Result {
    writeln!(text, "{:10} {:>13} {:>13} {:>13}", "", "PREDICTED", "MEASURED", "DIFFERENCE")?;
    for (name, predicted, measured) in [
        ("shortest", predicted.min(), measured.min_ns),
        ("half", predicted.percentile(50), measured.p50_ns),
        ("90%", predicted.percentile(90), measured.p90_ns),
        ("99%", predicted.percentile(99), measured.p99_ns),
        ("longest", predicted.max(), measured.max_ns),
    ] {
        let sign = if measured < predicted { '-' } else { '+' };
        let difference = format!("{sign}{}", duration(measured.abs_diff(predicted)));
        writeln!(text, "{name:10} {:>13} {:>13} {difference:>13}", duration(predicted), duration(measured))?;
    }
    writeln!(text)
}

/// Bars of what was measured, with a mark where the prediction ends.
fn write_both(text: &mut String, prediction: &Prediction, comparison: &Comparison) -> Result {
    let measured: u64 = comparison.values.iter().map(|(_, count)| count).sum();
    let predicted = prediction.durations.count();
    let scaled = |count: u64| (count as f64 * measured as f64 / predicted.max(1) as f64).round() as u64;
    let all: Vec<_> = comparison.values.iter().chain(prediction.durations.values()).copied().collect();
    let bars = bars(Distribution::new(all).values());
    let within = |values: &[(u64, u64)], low: u64, high: u64| -> u64 {
        values.iter().filter(|(ns, _)| (low..high).contains(ns)).map(|(_, count)| count).sum()
    };
    let rows: Vec<_> = bars
        .iter()
        .map(|bar| {
            let real = within(&comparison.values, bar.low_ns, bar.high_ns);
            let model = within(prediction.durations.values(), bar.low_ns, bar.high_ns);
            (bar, real, scaled(model))
        })
        .collect();
    let highest = rows.iter().map(|(_, real, model)| *real.max(model)).max().unwrap_or(0);
    writeln!(text, "{:>20} █ measured  ◆ predicted for as many", "")?;
    let mut before = None;
    for (bar, real, model) in rows.into_iter().filter(|(_, real, model)| real + model > 0) {
        if before.is_some_and(|end| end != bar.low_ns) {
            writeln!(text, "{:>20} ⋮", "")?;
        }
        before = Some(bar.high_ns);
        let mut row: Vec<char> = vec!['█'; columns(real, highest)];
        let mark = columns(model, highest);
        if mark > 0 {
            row.resize(row.len().max(mark), ' ');
            row[mark - 1] = '◆';
        }
        writeln!(text, "{:>20} │{} {real} ({model})", label(bar), row.into_iter().collect::<String>())?;
    }
    Ok(())
}

fn write_departures(text: &mut String, comparison: &Comparison) -> Result {
    if comparison.departures.is_empty() {
        return writeln!(text, "\nNothing in the run departs from the prediction.");
    }
    writeln!(text, "\nWhere reality departs from the prediction, and why:")?;
    for departure in &comparison.departures {
        writeln!(text, "- {}: {}", departure.cause.replace('_', " "), departure.text)?;
    }
    Ok(())
}

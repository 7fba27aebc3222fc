//! The figures of all rounds: medians as a table for people, everything as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::View;
use super::round::{Round, Setting, Traced, Verdict};

pub(super) fn text(views: &[&View], rounds: &[Round], setting: &Setting) -> String {
    let untraced: Vec<_> = rounds.iter().flat_map(|round| round.untraced).collect();
    let mut out = format!(
        "{} connections by {} pairs of threads, medians of {} rounds\n\
         untraced: {:.0} connections/s, {:.1} µs of CPU each\n\n\
         {:26}  rate kept (all rounds)                 added CPU  user/100k  sys/100k  ready   peak RSS  lost\n",
        setting.connections,
        setting.pairs,
        rounds.len(),
        median(untraced.iter().map(|load| load.rate)),
        median(untraced.iter().map(|load| load.cpu_us)),
        "view",
    );
    for (index, view) in views.iter().enumerate() {
        let of = |figure: fn(&Traced) -> f64| rounds.iter().map(move |round| figure(&round.views[index]));
        let mut kept: Vec<f64> = of(|traced| traced.kept).collect();
        kept.sort_by(f64::total_cmp);
        let all: Vec<String> = kept.iter().map(|share| format!("{:.0}", 100.0 * share)).collect();
        // Writing to a String does not fail.
        let _ = writeln!(
            out,
            "{:26}  {:5.1}% ({:<30})  {:+6.1} µs   {:6.2} s  {:6.2} s  {:4.0} ms  {:5.1} MiB  {}",
            view.name,
            100.0 * median(kept.iter().copied()),
            all.join(" "),
            median(rounds.iter().map(|round| added_us(round, index))),
            median(of(|traced| traced.user)),
            median(of(|traced| traced.system)),
            1e3 * median(of(|traced| traced.ready.as_secs_f64())),
            median(of(|traced| traced.peak_rss_kib as f64 / 1024.0)),
            outcome(rounds.iter().map(|round| round.views[index].verdict)),
        );
    }
    out
}

/// Losses of all rounds, and how many did not add up; nothing where the view does not tell programs.
fn outcome(verdicts: impl Iterator<Item = Option<Verdict>>) -> String {
    let Some(verdicts) = verdicts.collect::<Option<Vec<_>>>() else { return "not read".to_owned() };
    let lost: u64 = verdicts.iter().map(|verdict| verdict.lost).sum();
    match verdicts.iter().filter(|verdict| !verdict.balanced).count() {
        0 => lost.to_string(),
        unbalanced => format!("{lost}, NOT BALANCED in {unbalanced} rounds"),
    }
}

/// CPU that the connections themselves spent more, and what tw-trace spent, by connection.
fn added_us(round: &Round, index: usize) -> f64 {
    let untraced = f64::midpoint(round.untraced[0].cpu_us, round.untraced[1].cpu_us);
    let traced = &round.views[index];
    traced.load.cpu_us - untraced + 10.0 * (traced.user + traced.system)
}

pub(super) fn json(views: &[&View], rounds: &[Round], setting: &Setting) -> Value {
    let told = |index: usize, view: &&View| {
        let rounds: Vec<Value> = rounds.iter().map(|round| figures(&round.views[index])).collect();
        let kept = median_of(&rounds, "rate_kept");
        json!({ "view": view.name, "rate_kept": kept, "rounds": rounds })
    };
    json!({
        "connections": setting.connections,
        "pairs": setting.pairs,
        "per_second_offered": setting.per_second,
        "untraced": rounds
            .iter()
            .flat_map(|round| round.untraced)
            .map(|load| json!({ "per_second": load.rate, "cpu_us_per_connection": load.cpu_us }))
            .collect::<Vec<_>>(),
        "views": views.iter().enumerate().map(|(index, view)| told(index, view)).collect::<Vec<_>>(),
    })
}

fn figures(traced: &Traced) -> Value {
    json!({
        "rate_kept": traced.kept,
        "per_second": traced.load.rate,
        "cpu_us_per_connection": traced.load.cpu_us,
        "user_s_per_100k": traced.user,
        "system_s_per_100k": traced.system,
        "ready_ms": traced.ready.as_secs_f64() * 1e3,
        "peak_rss_kib": traced.peak_rss_kib,
        "lost": traced.verdict.map(|verdict| verdict.lost),
        "balanced": traced.verdict.map(|verdict| verdict.balanced),
    })
}

fn median_of(rounds: &[Value], name: &str) -> f64 {
    median(rounds.iter().filter_map(|round| round[name].as_f64()))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_added_up_and_never_made_up() {
        let verdict = |lost, balanced| Some(Verdict { lost, balanced });
        assert_eq!(outcome([verdict(1, true), verdict(2, true)].into_iter()), "3");
        assert_eq!(outcome([verdict(0, false)].into_iter()), "0, NOT BALANCED in 1 rounds");
        assert_eq!(outcome([verdict(0, true), None].into_iter()), "not read");
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        assert!(median(std::iter::empty()).is_nan());
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0].into_iter()) - 2.5).abs() < 1e-9);
    }
}

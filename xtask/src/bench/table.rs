//! The figures of all rounds for people: one line a subject, medians, and what each column is.

use std::fmt::Write as _;

use super::Results;
use super::memory::Memory;
use super::programs::{self, Runs};
use super::round::Traced;
use super::told::Account;

const LEGEND: &str = "\
kept       share of the untraced rate of the same round, and the least and the most of all rounds
+kernel    CPU of the whole machine by connection beyond the untraced load's, in the kernel, in µs
+user      the same in user space, in µs
+own       the same of the processes of load and tracer, start and end included: what others do is not in it
user       user CPU of the tracer alone per 100,000 connections, start and end included, in s
runs       runs of its eBPF programs by connection, by the kernel's statistics, in a round of their own
ns/run     ns for each of them, with the some 40 that counting adds
ready      from the start of the process until it was attached, in ms
peak       the most of its own memory that was resident, without maps, in MiB
steady     the same after the load
maps       kernel memory of its maps, in MiB
lost       events that it did not tell, in all rounds, and their share where all that it told can be counted;
           tw-trace counts its own losses and holds them against the kernel's counters
";

pub(super) fn text(results: &Results<'_>) -> String {
    let untraced: Vec<_> =
        results.rounds.iter().flat_map(|round| &round.traced).map(|traced| traced.untraced[0]).collect();
    let mut out = format!(
        "{} connections by {} pairs of threads, {} sockets in TIME_WAIT before, medians of {} rounds\n\
         untraced: {:.0} connections/s; CPU by connection: {:.1} µs in the kernel, {:.1} µs in user space\n\
         other work on this machine before a load: {:.0}% of its CPU, at the most {:.0}%\n\n\
         {:24}  kept           +kernel  +user   +own  user   runs ns/run ready   peak steady  maps lost\n",
        results.offer.connections,
        results.offer.pairs,
        results.offer.standing,
        results.rounds.len(),
        median(untraced.iter().map(|load| load.rate)),
        median(untraced.iter().map(|load| load.machine.kernel)),
        median(untraced.iter().map(|load| load.machine.user)),
        100.0 * median(untraced.iter().map(|load| load.others)),
        100.0 * untraced.iter().map(|load| load.others).fold(0.0, f64::max),
        "",
    );
    for (place, subject) in results.subjects.iter().enumerate() {
        let runs = results.statistics.get(place).map(Vec::as_slice).unwrap_or_default();
        // Writing to a String does not fail.
        let _ = writeln!(
            out,
            "{:24}  {}",
            subject.name,
            line(&results.of(place), runs, results.offer.connections)
        );
    }
    let _ = write!(out, "\n{LEGEND}");
    out
}

fn line(rounds: &[&Traced], runs: &[Runs], connections: u32) -> String {
    let of = |figure: &dyn Fn(&Traced) -> f64| median(rounds.iter().map(|traced| figure(traced)));
    let kept = || rounds.iter().map(|traced| 100.0 * traced.kept());
    let (count, per_run) = totals(runs, connections);
    let range = format!("({:.0}–{:.0})", kept().fold(f64::MAX, f64::min), kept().fold(0.0, f64::max));
    let text = format!(
        "{:5.1}% {:8} {:+6.1} {:+6.1} {:+6.1} {:5.2} {:>6} {:>6} {:5.0} {:6.1} {:6.1} {:5.1} {}",
        median(kept()),
        range,
        of(&|traced| traced.added(|load| load.machine.kernel)),
        of(&|traced| traced.added(|load| load.machine.user)),
        of(&Traced::added_by_processes),
        of(&|traced| traced.measured.user),
        count,
        per_run,
        of(&|traced| traced.measured.ready.as_secs_f64() * 1e3),
        of(&|traced| mib(Memory::own_peak(traced.measured.memory.each_ref()))),
        of(&|traced| mib(traced.measured.memory[1].own)),
        of(&|traced| mib(traced.measured.memory[1].maps)),
        outcome(rounds.iter().map(|traced| traced.measured.account)),
    );
    text.trim_end().to_owned()
}

/// Runs by connection and ns by run, of all programs together.
fn totals(runs: &[Runs], connections: u32) -> (String, String) {
    let (count, ns) = programs::totals(runs);
    if count == 0 {
        return ("–".to_owned(), "–".to_owned());
    }
    (format!("{:.1}", count as f64 / f64::from(connections)), format!("{:.0}", ns as f64 / count as f64))
}

/// Losses of all rounds, and how many did not add up; nothing where the output is not for programs.
fn outcome(accounts: impl Iterator<Item = Option<Account>>) -> String {
    let Some(accounts) = accounts.collect::<Option<Vec<_>>>() else { return "–".to_owned() };
    let lost: u64 = accounts.iter().map(|account| account.lost).sum();
    let made: u64 = accounts.iter().filter_map(|account| account.made).sum();
    let unbalanced = accounts.iter().filter(|account| account.balanced == Some(false)).count();
    match (made, unbalanced) {
        (0, 0) => lost.to_string(),
        (0, _) => format!("{lost}, NOT BALANCED in {unbalanced} rounds"),
        _ => format!("{lost} ({:.0}%)", 100.0 * lost as f64 / made as f64),
    }
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
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
        let own = |lost, balanced| Some(Account { told: None, made: None, lost, balanced: Some(balanced) });
        let peer = |told, made| {
            Some(Account { told: Some(told), made: Some(made), lost: made - told, balanced: None })
        };
        assert_eq!(outcome([own(1, true), own(2, true)].into_iter()), "3");
        assert_eq!(outcome([own(0, false)].into_iter()), "0, NOT BALANCED in 1 rounds");
        assert_eq!(outcome([own(0, true), None].into_iter()), "–");
        assert_eq!(outcome([peer(5, 10), peer(10, 10)].into_iter()), "5 (25%)");
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        assert!(median(std::iter::empty()).is_nan());
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0].into_iter()) - 2.5).abs() < 1e-9);
    }

    #[test]
    fn programs_are_added_up() {
        let program = |runs, ns| Runs { id: 0, name: String::new(), runs, ns };
        let told = totals(&[program(90, 9000), program(10, 0)], 10);
        assert_eq!(told, ("10.0".to_owned(), "90".to_owned()));
        assert_eq!(totals(&[], 10).0, "–");
    }

    #[test]
    fn the_legend_fits_its_lines() {
        assert!(LEGEND.lines().all(|line| line.chars().count() <= 120));
    }
}

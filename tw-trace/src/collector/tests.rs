//! The figures of made-up runs, and that every imbalance is found.

use std::collections::BTreeMap;

use tw_trace_common::{event::exit_flags, followed::Ledger};

use super::*;
use crate::made_up::{self, Random, SECOND, START, TICK_NS};

fn totals(ledger: Ledger, live: u64) -> KernelTotals {
    KernelTotals {
        ledgers: [(1, ledger)].into(),
        live,
        from_mono_ns: START,
        to_mono_ns: START + 90 * SECOND,
        ..KernelTotals::default()
    }
}

fn exited(reason: ExitReason, count: u64) -> [u64; 8] {
    let mut exited = [0; 8];
    exited[reason as usize] = count;
    exited
}

#[test]
fn a_run_adds_up() {
    let mut collector = Collector::new(TICK_NS);
    let mut totals = totals(
        Ledger { seeded: 1, entered: 2, exited: exited(ExitReason::Expired, 1), ..Ledger::default() },
        2,
    );
    for record in made_up::one_of_each() {
        collector.observe(&record);
        totals.counters[of_kind(record.kind()).0 as usize] += 1;
    }
    let summary = collector.finish(&totals, Audit::default());
    assert_eq!(summary.balanced, Some(true), "{:?}", summary.unbalanced);
    assert_eq!(
        summary.duration.map(|d| (d.count, d.min_ns, d.max_ns)),
        Some((1, 61_923_000_000, 61_923_000_000))
    );
    assert_eq!((summary.elapsed_ns, summary.lost, summary.overflow), (90 * SECOND, 0, Some(1)));
    assert_eq!(summary.expired[0].timeout_ns(), 60 * SECOND);
    assert_eq!(summary.owners.named, [(made_up::owner().comm, 1)]);
}

#[test]
fn losses_that_were_counted_add_up_but_are_told() {
    let collector = Collector::new(TICK_NS);
    let mut totals = totals(Ledger { entered: 5, untracked: 2, missed: 1, ..Ledger::default() }, 2);
    totals.counters[Counter::MadeState as usize] = 512;
    totals.counters[Counter::RingState as usize] = 512;
    totals.counters[Counter::TwMapFull as usize] = 2;
    totals.counters[Counter::ExitMissed as usize] = 1;
    totals.counters[Counter::HiddenRearm as usize] = 9;
    let summary = collector.finish(&totals, Audit::default());
    assert_eq!(summary.balanced, Some(true), "{:?}", summary.unbalanced);
    assert_eq!((summary.lost, summary.sockets.map(|sockets| sockets.lost)), (515, Some(3)));
    assert_eq!(
        summary.lost_by,
        [(Counter::RingState, 512), (Counter::TwMapFull, 2), (Counter::ExitMissed, 1)]
    );
    assert_eq!(summary.notes, [(Counter::HiddenRearm, 9)]);
}

#[test]
fn an_audit_problem_unbalances() {
    let audit = Audit { problems: vec!["a problem".into()], ..Audit::default() };
    let summary = Collector::new(TICK_NS).finish(&KernelTotals::default(), audit);
    assert_eq!(summary.balanced, Some(false));
    assert_eq!(summary.unbalanced, ["a problem"]);
}

#[test]
fn an_end_that_arrived_must_have_been_counted() {
    let mut collector = Collector::new(TICK_NS);
    collector.observe(&Record::TwExit(made_up::early_exit(ExitReason::Reused, SECOND)));
    let mut totals =
        totals(Ledger { entered: 1, exited: exited(ExitReason::Expired, 1), ..Ledger::default() }, 0);
    totals.counters[Counter::MadeTwExit as usize] = 1;
    let summary = collector.finish(&totals, Audit::default());
    assert_eq!(
        summary.unbalanced,
        ["1 tw_exit records arrived with the reason reused, but only 0 such ends were counted"]
    );
}

#[test]
fn time_in_fin_wait2_is_not_time_in_time_wait() {
    let mut collector = Collector::new(TICK_NS);
    collector.observe(&Record::TwExit(TwExit {
        substate: Substate::FinWait2 as u8,
        duration_ns: 0,
        fin_wait2_ns: 5 * SECOND,
        ..made_up::early_exit(ExitReason::Rst, 0)
    }));
    collector.observe(&Record::TwExit(TwExit {
        duration_ns: NONE_NS,
        since_arming_ns: NONE_NS,
        fin_wait2_ns: NONE_NS,
        ..made_up::exit()
    }));
    let summary = collector.finish(&KernelTotals::default(), Audit::default());
    assert_eq!(summary.duration, None);
    assert_eq!(summary.fin_wait2.map(|d| (d.count, d.max_ns)), Some((1, 5 * SECOND)));
}

#[test]
fn estimated_times_are_counted_and_in_no_figure() {
    let mut collector = Collector::new(TICK_NS);
    let estimated = Entered::Estimated as u8;
    let seeded = TwExit { flags: exit_flags::SEEDED, entered: estimated, ..made_up::exit() };
    collector.observe(&Record::TwExit(TwExit { duration_ns: 75 * SECOND, fin_wait2_ns: SECOND, ..seeded }));
    collector.observe(&Record::TwExit(TwExit { duration_ns: NONE_NS, ..seeded }));
    let summary = collector.finish(&KernelTotals::default(), Audit::default());
    assert_eq!((summary.estimated, summary.duration, summary.fin_wait2), (2, None, None));
    let flags = exit_flags::HIDDEN_REARM | exit_flags::HIDDEN_FLIP;
    collector.observe(&Record::TwExit(TwExit { flags, entered: estimated, ..made_up::exit() }));
    let summary = collector.finish(&KernelTotals::default(), Audit::default());
    assert_eq!((summary.estimated, summary.duration, summary.fin_wait2), (3, None, None));
    assert_eq!((summary.expired.len(), summary.bars.len(), summary.expired_otherwise), (0, 0, 0));
    collector.observe(&Record::TwExit(made_up::exit()));
    let summary = collector.finish(&KernelTotals::default(), Audit::default());
    assert_eq!((summary.estimated, summary.duration.map(|d| d.max_ns)), (3, Some(61_923_000_000)));
    assert_eq!(summary.expired[0].count, 1);
}

#[test]
fn what_was_not_watched_is_not_told_and_unbalances_nothing() {
    let ledger = Ledger { entered: 7, ..Ledger::ZERO };
    let finish = |kinds: &[Kind]| {
        let stream = kinds.iter().fold(0, |mask, kind| mask | kind.bit());
        let totals = KernelTotals { watched: Watched::streaming(stream), ..totals(ledger, 0) };
        Collector::new(TICK_NS).finish(&totals, Audit { overflow: Some(3), ..Audit::default() })
    };
    let states = finish(&[Kind::State]);
    assert_eq!((states.states, states.sockets, states.exited), (Some(0), None, None));
    assert_eq!((states.rearms, states.overflow, states.balanced), (None, None, Some(true)));
    let time_waits = finish(&[Kind::TwExit, Kind::TwEnter]);
    assert_eq!((time_waits.states, time_waits.rearms, time_waits.overflow), (None, Some(0), Some(3)));
    assert_eq!(
        (time_waits.sockets.map(|sockets| sockets.entered), time_waits.balanced),
        (Some(7), Some(false))
    );
    assert_eq!(Watched::streaming(u16::MAX), Watched::default());
}

#[test]
fn overflows_are_not_known_behind_filters_nor_without_the_kernels_counter() {
    let overflow = |kernel, filtered, made| {
        let mut totals = KernelTotals { filtered, ..KernelTotals::default() };
        totals.counters[Counter::MadeTwOverflow as usize] = made;
        Collector::new(TICK_NS).finish(&totals, Audit { overflow: kernel, ..Audit::default() }).overflow
    };
    assert_eq!(overflow(Some(0), false, 0), Some(0));
    assert_eq!(overflow(Some(9), true, 0), None);
    assert_eq!(overflow(Some(9), true, 2), Some(2));
    assert_eq!(overflow(None, false, 0), None);
}

#[test]
fn overflows_that_are_watched_are_known_behind_filters_and_not_counted_twice() {
    let overflow = |kernel, filtered, booked| {
        let watched = Watched { overflows: true, ..Watched::default() };
        let mut totals = KernelTotals { filtered, watched, ..KernelTotals::default() };
        totals.ledgers.insert(1, Ledger { overflow: booked, ..Ledger::ZERO });
        totals.counters[Counter::MadeTwOverflow as usize] = booked;
        Collector::new(TICK_NS).finish(&totals, Audit { overflow: kernel, ..Audit::default() }).overflow
    };
    assert_eq!(overflow(Some(9), true, 0), Some(0));
    assert_eq!(overflow(Some(9), true, 2), Some(2));
    assert_eq!(overflow(Some(9), false, 9), Some(9));
    assert_eq!(overflow(None, false, 3), Some(3));
}

#[test]
fn what_nobody_watched_is_not_claimed_to_add_up() {
    let totals = KernelTotals { uncovered: vec!["x() is gone".into()], ..KernelTotals::default() };
    let summary = Collector::new(TICK_NS).finish(&totals, Audit::default());
    assert_eq!((summary.balanced, summary.uncovered.len()), (None, 1));
    let audit = Audit { problems: vec!["a problem".into()], ..Audit::default() };
    assert_eq!(Collector::new(TICK_NS).finish(&totals, audit).balanced, Some(false));
}

/// A random run that adds up.
fn random_run(random: &mut Random) -> (Collector, KernelTotals) {
    let mut collector = Collector::new(TICK_NS);
    let mut ledgers = BTreeMap::new();
    let mut all = KernelTotals::default();
    for inode in 1..=1 + random.below(3) {
        let mut ledger = Ledger { seeded: random.below(9), ..Ledger::default() };
        ledger.exited = std::array::from_fn(|_| random.below(9));
        ledger.untracked = random.below(3);
        ledger.missed = random.below(3);
        let live = random.below(20) + ledger.seeded;
        all.live += live;
        ledger.entered =
            ledger.exited.iter().sum::<u64>() + ledger.untracked + ledger.missed + live - ledger.seeded;
        ledgers.insert(inode, ledger);
    }
    all.ledgers = ledgers;
    for (reason, count) in all.sum().exited.into_iter().enumerate() {
        for _ in 0..count {
            let exit = made_up::early_exit(ExitReason::ALL[reason], random.below(60 * SECOND));
            all.counters[Counter::MadeTwExit as usize] += 1;
            if random.below(4) == 0 {
                all.counters[Counter::RingTwExit as usize] += 1;
            } else {
                collector.observe(&Record::TwExit(exit));
            }
        }
    }
    (collector, all)
}

#[test]
fn random_runs_add_up_and_one_off_anywhere_does_not() {
    let mut random = Random::new(3);
    for _ in 0..5 {
        let (collector, totals) = random_run(&mut random);
        assert_eq!(collector.finish(&totals, Audit::default()).unbalanced, Vec::<String>::new());
        let falsify: [fn(&mut KernelTotals, &mut Ledger); 9] = [
            |_, ledger| ledger.seeded += 1,
            |_, ledger| ledger.entered += 1,
            |_, ledger| ledger.exited[ExitReason::Killed as usize] += 1,
            |_, ledger| ledger.untracked += 1,
            |_, ledger| ledger.missed += 1,
            |totals, _| totals.live += 1,
            |totals, _| totals.counters[Counter::MadeTwExit as usize] += 1,
            |totals, _| totals.counters[Counter::RingTwExit as usize] += 1,
            |totals, _| totals.counters[Counter::RingState as usize] += 1,
        ];
        for (index, falsify) in falsify.iter().enumerate() {
            let mut wrong = totals.clone();
            let mut ledger = wrong.ledgers[&1];
            falsify(&mut wrong, &mut ledger);
            wrong.ledgers.insert(1, ledger);
            let balanced = collector.finish(&wrong, Audit::default()).balanced;
            assert_eq!(balanced, Some(false), "falsification {index}");
        }
    }
}

//! The audit finds every kind of disagreement and accepts what only timing explains.

use super::*;
use crate::collector::Watched;
use crate::made_up::Random;

const INODE: u32 = 4_026_531_840;

fn snapshot(tw: u64, recycled: u64, living: u64) -> Snapshot {
    let tcpext = [(TW, tw), (TW_KILLED, 0), (TW_RECYCLED, recycled), (TW_OVERFLOW, 0)];
    Snapshot { tcpext: tcpext.map(|(name, value)| (name.to_owned(), value)).into(), tw: living }
}

fn at_rest(start: &Snapshot, end: &Snapshot) -> Namespace {
    Namespace {
        id: u64::from(INODE),
        inode: INODE,
        start: Start::Read { before: start.clone(), after: start.clone() },
        end: End::Read { before: end.clone(), after: end.clone() },
    }
}

fn ledger(seeded: u64, entered: u64, expired: u64, reused: u64) -> Ledger {
    let mut ledger = Ledger { seeded, entered, ..Ledger::default() };
    ledger.exited[ExitReason::Expired as usize] = expired;
    ledger.exited[ExitReason::Reused as usize] = reused;
    ledger
}

fn totals(ledger: Ledger) -> KernelTotals {
    KernelTotals { ledgers: [(INODE.into(), ledger)].into(), ..KernelTotals::default() }
}

fn arming(namespace: Namespace, totals: &KernelTotals) -> Audit {
    audit(&[namespace], totals, CountedAt::Arming, &Scope::Whole)
}

#[test]
fn agreement_has_no_problems_and_gives_the_deltas() {
    let namespace = at_rest(&snapshot(100, 7, 40), &snapshot(2100, 57, 990));
    let audit = arming(namespace, &totals(ledger(40, 2000, 1000, 50)));
    assert_eq!((audit.problems.len(), audit.unaudited.len()), (0, 0), "{audit:?}");
    assert_eq!(audit.deltas["TW"], 2000);
    assert_eq!(audit.deltas["TWRecycled"], 50);
    assert_eq!(audit.deltas["sockstat_tw"], 950);
}

#[test]
fn one_socket_too_few_is_a_problem_with_numbers() {
    let namespace = at_rest(&snapshot(100, 0, 0), &snapshot(2100, 0, 1999));
    let audit = arming(namespace, &totals(ledger(0, 1999, 0, 0)));
    assert_eq!(
        audit.problems,
        ["namespace 4026531840: the kernel counted 2000 new time-wait sockets (TW+TWKilled), tw-trace 1999"
            .to_owned()]
    );
}

#[test]
fn what_happens_while_attaching_may_be_counted_or_not() {
    let namespace = Namespace {
        id: u64::from(INODE),
        inode: INODE,
        start: Start::Read { before: snapshot(90, 0, 0), after: snapshot(100, 0, 10) },
        end: End::Read { before: snapshot(200, 0, 110), after: snapshot(205, 0, 115) },
    };
    for (entered, seeded, agrees) in
        [(99, 10, false), (100, 10, true), (110, 0, true), (115, 0, true), (116, 0, false)]
    {
        let audit = arming(namespace.clone(), &totals(ledger(seeded, entered, 0, 0)));
        assert_eq!(audit.problems.is_empty(), agrees, "{entered}: {:?}", audit.problems);
    }
}

#[test]
fn old_kernels_count_expiries_only() {
    let namespace = at_rest(&snapshot(0, 0, 0), &snapshot(600, 0, 400));
    let check = |ledger| {
        audit(std::slice::from_ref(&namespace), &totals(ledger), CountedAt::Firing, &Scope::Whole).problems
    };
    assert_eq!(check(ledger(0, 1000, 600, 0)), Vec::<String>::new());
    assert_eq!(
        check(ledger(0, 999, 599, 0)),
        ["namespace 4026531840: the kernel counted 600 time-wait sockets that expired (TW+TWKilled), \
             tw-trace 599"
            .to_owned()]
    );
    // An end without a reason may have been an expiry.
    let mut unreasoned = ledger(0, 1000, 599, 0);
    unreasoned.exited[ExitReason::Unknown as usize] = 1;
    assert_eq!(check(unreasoned), Vec::<String>::new());
}

#[test]
fn reuse_and_living_sockets_are_held_against_the_kernel() {
    let namespace = at_rest(&snapshot(0, 0, 0), &snapshot(10, 3, 7));
    assert_eq!(arming(namespace.clone(), &totals(ledger(0, 10, 0, 3))).problems, Vec::<String>::new());
    let problems = arming(namespace, &totals(ledger(0, 10, 1, 1))).problems;
    assert_eq!(
        problems,
        [
            "namespace 4026531840: the kernel counted 3 reused time-wait sockets (TWRecycled), tw-trace 1"
                .to_owned(),
            "namespace 4026531840: at the end the kernel had 7 living time-wait sockets (sockstat tw), \
             tw-trace 0 seeded + 10 entered - 2 ended or lost"
                .to_owned()
        ]
    );
}

#[test]
fn overflows_told_one_by_one_are_held_against_the_kernel() {
    let problems = |watched: bool, booked, passed_over| {
        let mut end = snapshot(10, 0, 10);
        end.tcpext.insert(TW_OVERFLOW.to_owned(), 3);
        let namespace = at_rest(&snapshot(10, 0, 10), &end);
        let mut totals = totals(Ledger { overflow: booked, ..ledger(10, 0, 0, 0) });
        totals.watched.overflows = watched;
        totals.counters[Counter::Recursion as usize] = passed_over;
        arming(namespace, &totals).problems
    };
    assert_eq!(problems(true, 3, 0), [""; 0]);
    assert_eq!(problems(true, 2, 1), [""; 0]);
    assert_eq!(problems(false, 0, 0), [""; 0]);
    let told = problems(true, 2, 0);
    assert!(told[0].contains("counted 3 connections that skipped TIME_WAIT"), "{told:?}");
}

#[test]
fn a_new_namespace_began_at_zero() {
    let end = snapshot(5, 0, 5);
    let namespace = Namespace {
        id: u64::from(INODE),
        inode: INODE,
        start: Start::Created,
        end: End::Read { before: end.clone(), after: end },
    };
    let audit = arming(namespace, &totals(ledger(0, 5, 0, 0)));
    assert_eq!((audit.problems.len(), audit.deltas["TW"]), (0, 5));
}

#[test]
fn what_cannot_be_compared_is_said() {
    let end = snapshot(5, 0, 5);
    let start = Start::Read { before: end.clone(), after: end.clone() };
    let said = |end: End, totals: &KernelTotals, scope: &Scope| {
        let namespace = Namespace { id: u64::from(INODE), inode: INODE, start: start.clone(), end };
        let audit = audit(&[namespace], totals, CountedAt::Arming, scope);
        assert_eq!(audit.problems, Vec::<String>::new());
        audit.unaudited.join("\n")
    };
    let wrong = totals(ledger(0, 99, 0, 0));
    let read = End::Read { before: end.clone(), after: end.clone() };
    assert!(
        said(End::Gone, &wrong, &Scope::Whole)
            .contains("it is gone and its counters with it, so its 99 entered")
    );
    assert!(said(End::Unreadable("no permission".into()), &wrong, &Scope::Whole).contains("no permission"));
    assert!(
        said(read.clone(), &wrong, &Scope::Filtered("--pid 1".into())).contains("only what --pid 1 selects")
    );
    let watched = Watched { states: true, time_waits: false, overflows: false };
    let states = KernelTotals { watched, ..wrong.clone() };
    for end in [End::Gone, read.clone()] {
        assert_eq!(
            said(end, &states, &Scope::Whole),
            "this run did not watch time-wait sockets: nothing to compare with"
        );
    }
    let mut crowded = wrong.clone();
    crowded.ledgers.insert(0, ledger(0, 1, 0, 0));
    assert!(said(read, &crowded, &Scope::Whole).contains("could not be put down to a network namespace"));
    let unread = audit(&[], &wrong, CountedAt::Arming, &Scope::Whole);
    assert!(unread.unaudited[0].contains("its counters were not read"), "{unread:?}");
}

#[test]
fn where_the_kernel_counts_dccp_too_nothing_is_compared() {
    let namespace = at_rest(&snapshot(100, 0, 0), &snapshot(105, 0, 2));
    let mut totals = totals(ledger(0, 2, 0, 0));
    assert_eq!(arming(namespace.clone(), &totals).problems.len(), 1);
    totals.counters[Counter::Dccp as usize] = 3;
    let audit = arming(namespace, &totals);
    assert_eq!((audit.problems.len(), audit.unaudited), (0, vec![WITH_DCCP.to_owned()]));
}

#[test]
fn a_kernel_without_a_counter_is_not_blamed() {
    let mut end = snapshot(5, 0, 5);
    end.tcpext.remove(TW_KILLED);
    let namespace = Namespace {
        id: u64::from(INODE),
        inode: INODE,
        start: Start::Created,
        end: End::Read { before: end.clone(), after: end },
    };
    let audit = arming(namespace, &totals(ledger(0, 5, 0, 0)));
    assert_eq!(audit.unaudited, ["this kernel has no counter TW+TWKilled"]);
}

/// A made-up kernel with traffic in every phase; tw-trace sees exactly what happens between attach and detach.
#[test]
fn random_runs_agree_and_every_falsification_outside_the_slack_is_found() {
    let mut random = Random::new(1);
    for _ in 0..2_000 {
        let mut now = snapshot(random.below(1000), random.below(1000), random.below(1000));
        let mut phase = |now: &mut Snapshot, ledger: Option<&mut Ledger>| {
            let (entered, reused) = (random.below(50), random.below(5));
            let reused = reused.min(now.tw + entered);
            let expired = random.below(50).min(now.tw + entered - reused);
            *now.tcpext.entry(TW.into()).or_default() += entered;
            *now.tcpext.entry(TW_RECYCLED.into()).or_default() += reused;
            now.tw = now.tw + entered - expired - reused;
            if let Some(ledger) = ledger {
                ledger.entered += entered;
                ledger.exited[ExitReason::Expired as usize] += expired;
                ledger.exited[ExitReason::Reused as usize] += reused;
            }
            now.clone()
        };
        let before = now.clone();
        phase(&mut now, None);
        let mut ledger = Ledger { seeded: now.tw, ..Ledger::default() };
        let after = phase(&mut now, Some(&mut ledger));
        let start = Start::Read { before, after };
        let before = phase(&mut now, Some(&mut ledger));
        phase(&mut now, Some(&mut ledger));
        let after = phase(&mut now, None);
        let namespace =
            Namespace { id: u64::from(INODE), inode: INODE, start, end: End::Read { before, after } };
        assert_eq!(arming(namespace.clone(), &totals(ledger)).problems, Vec::<String>::new());
        // More than can have happened while attaching and detaching (50 a phase, two phases at each end).
        let wrong = Ledger { entered: ledger.entered + 201, ..ledger };
        assert!(!arming(namespace.clone(), &totals(wrong)).problems.is_empty());
        let wrong = Ledger { seeded: ledger.seeded + 201, ..ledger };
        assert!(!arming(namespace, &totals(wrong)).problems.is_empty());
    }
}

//! Each timer as the kernel placed it, beside where the model puts it; pure.

use serde_json::{Value, json};
use tw_trace_common::lab::{OracleCounter, Placed};

use super::modern::Wheel;

/// Timers to be compared in all.
const LEAST: u64 = 100_000;
/// And of each level, and of those beyond the last.
const LEAST_OF_EACH: u64 = 1_000;

/// Differences that are shown.
const EXAMPLES: usize = 5;

pub(super) struct Tally {
    wheel: Wheel,
    compared: u64,
    /// By the level that the kernel chose.
    levels: Vec<u64>,
    /// Too far ahead for the wheel, and put into its last level all the same.
    beyond: u64,
    /// Already due, and put into the bucket that fires next.
    due: u64,
    differences: u64,
    examples: Vec<String>,
}

/// What the kernel side counted, over all CPUs.
#[derive(Debug, Default)]
pub(super) struct Counts(pub(super) [u64; OracleCounter::COUNT as usize]);

impl Counts {
    pub(super) fn of(&self, counter: OracleCounter) -> u64 {
        self.0[counter as usize]
    }
}

impl Tally {
    pub(super) fn new(wheel: Wheel) -> Self {
        let levels = vec![0; usize::from(wheel.levels())];
        Self { wheel, compared: 0, levels, beyond: 0, due: 0, differences: 0, examples: Vec::new() }
    }

    pub(super) fn add(&mut self, placed: Placed) {
        self.compared += 1;
        let Placed { expires, clk, index, bucket_expiry } = placed;
        let model = self.wheel.place(expires, clk);
        if (u64::from(model.index()), model.bucket) != (index, bucket_expiry) {
            self.differences += 1;
            if self.examples.len() < EXAMPLES {
                let (own_index, own_bucket) = (model.index(), model.bucket);
                self.examples.push(format!(
                    "expires {expires} at {clk}: index {index} and bucket {bucket_expiry}, the model says \
                     {own_index} and {own_bucket}"
                ));
            }
        }
        let ahead = expires.wrapping_sub(clk);
        if ahead.cast_signed() < 0 {
            self.due += 1;
        } else if ahead >= self.wheel.cutoff() {
            self.beyond += 1;
        } else if let Some(level) = self.levels.get_mut((index / 64) as usize) {
            *level += 1;
        }
    }

    /// Whether nothing more needs to be provoked.
    pub(super) fn enough(&self) -> bool {
        self.compared >= LEAST && self.rare().is_empty()
    }

    /// Kinds of which there are too few.
    fn rare(&self) -> Vec<String> {
        let levels = self.levels.iter().enumerate().map(|(level, &count)| (format!("level {level}"), count));
        let all = levels.chain([("beyond the last level".to_owned(), self.beyond)]);
        all.filter(|(_, count)| *count < LEAST_OF_EACH)
            .map(|(kind, count)| format!("{kind}: {count}"))
            .collect()
    }

    /// Where the model is wrong, or too little was compared to say that it is right.
    pub(super) fn problems(&self, counts: &Counts) -> Vec<String> {
        let mut problems = Vec::new();
        if self.differences > 0 {
            problems.push(format!("{} differ: {}", self.differences, self.examples.join("; ")));
        }
        if self.compared < LEAST {
            problems.push(format!("fewer than {LEAST}"));
        }
        let rare = self.rare();
        if !rare.is_empty() {
            problems.push(format!("fewer than {LEAST_OF_EACH} of a kind ({})", rare.join(", ")));
        }
        let (seen, compared) = (counts.of(OracleCounter::Seen), self.compared);
        let not_sent = counts.of(OracleCounter::RingFull) + counts.of(OracleCounter::Unreadable);
        if seen != compared + not_sent {
            problems
                .push(format!("{seen} were seen, {compared} arrived and {not_sent} were counted as lost"));
        }
        problems
    }

    /// How many, for people.
    pub(super) fn shown(&self, counts: &Counts) -> String {
        let levels: Vec<String> = self.levels.iter().map(u64::to_string).collect();
        let lost: u64 = OracleCounter::LOST.iter().map(|&counter| counts.of(counter)).sum();
        format!(
            "{} timers; levels 0 to {}: {}; beyond them {}, already due {}; lost {lost}",
            self.compared,
            self.levels.len() - 1,
            levels.join(", "),
            self.beyond,
            self.due
        )
    }

    /// The same, for programs.
    pub(super) fn json(&self, counts: &Counts) -> Value {
        json!({
            "compared": self.compared,
            "levels": self.levels,
            "beyond": self.beyond,
            "due": self.due,
            "differences": self.differences,
            "examples": self.examples,
            "lost": {
                "ring_full": counts.of(OracleCounter::RingFull),
                "unreadable": counts.of(OracleCounter::Unreadable),
                "unpaired": counts.of(OracleCounter::Unpaired),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLK: u64 = 4_294_892_296;

    /// As a kernel would that does what the model says.
    fn placed(wheel: Wheel, ahead: u64) -> Placed {
        let expires = CLK.wrapping_add(ahead);
        let place = wheel.place(expires, CLK);
        Placed { expires, clk: CLK, index: place.index().into(), bucket_expiry: place.bucket }
    }

    /// Enough of every kind.
    fn full() -> (Tally, Counts) {
        let wheel = Wheel::new(250);
        let mut tally = Tally::new(wheel);
        for kind in 0..=9 {
            for _ in 0..LEAST / 10 {
                tally.add(placed(wheel, (63 << (3 * kind)) - 1));
            }
        }
        let counts = Counts([tally.compared, 0, 0, 0]);
        (tally, counts)
    }

    #[test]
    fn enough_that_agree_are_no_problem() {
        let (tally, counts) = full();
        assert!(tally.enough());
        assert_eq!(tally.problems(&counts), Vec::<String>::new());
        assert_eq!((tally.levels, tally.beyond, tally.due), (vec![10_000; 9], 10_000, 0));
    }

    #[test]
    fn one_difference_is_a_problem_and_shown() {
        for (index, bucket) in [(1, 0), (0, 1)] {
            let (mut tally, mut counts) = full();
            let timer = placed(Wheel::new(250), 15_000);
            tally.add(Placed {
                index: timer.index + index,
                bucket_expiry: timer.bucket_expiry + bucket,
                ..timer
            });
            counts.0[0] += 1;
            let problems = tally.problems(&counts);
            assert!(problems.len() == 1 && problems[0].starts_with("1 differ: expires "), "{problems:?}");
        }
    }

    #[test]
    fn too_few_prove_nothing() {
        let wheel = Wheel::new(250);
        let mut tally = Tally::new(wheel);
        for _ in 0..LEAST {
            tally.add(placed(wheel, 15_000));
        }
        tally.add(placed(wheel, u64::MAX));
        assert!(!tally.enough());
        let problems = tally.problems(&Counts([LEAST + 1, 0, 0, 0]));
        assert!(problems[0].contains("level 2: 0, level 4: 0") && problems[0].contains("last level: 0"));
        assert_eq!(tally.due, 1);
    }

    #[test]
    fn what_is_lost_is_counted_or_missed() {
        let (tally, _) = full();
        let lost = Counts([LEAST + 7, 4, 3, 2]);
        assert!(tally.problems(&lost).is_empty() && tally.shown(&lost).ends_with("lost 9"));
        let silent = Counts([LEAST + 7, 4, 2, 0]);
        assert!(tally.problems(&silent)[0].contains("100007 were seen"));
    }
}

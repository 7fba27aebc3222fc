//! One round: every subject over the same load, with the untraced load before, after and between.

use anyhow::{Context as _, Result};

use super::load::{Generator, Load, Offer};
use super::measure::{Measured, measure};
use super::programs::{self, Runs};
use super::view::Subject;

/// Subjects between two untraced loads: what changes with time shall not fall on one and not the other.
const BETWEEN: usize = 2;

/// What a subject came to in one round.
#[derive(Clone, Debug)]
pub(super) struct Traced {
    pub(super) measured: Measured,
    /// The untraced loads before and after.
    pub(super) untraced: [Load; 2],
}

impl Traced {
    /// The share of the untraced rate that was kept.
    pub(super) fn kept(&self) -> f64 {
        self.measured.load.rate / self.mean(|load| load.rate)
    }

    /// Mean of a figure of the untraced loads.
    pub(super) fn mean(&self, figure: impl Fn(&Load) -> f64) -> f64 {
        f64::midpoint(figure(&self.untraced[0]), figure(&self.untraced[1]))
    }

    /// CPU that the processes of the load and of the tracer used beyond the untraced load's, in microseconds by
    /// connection: without interrupts that others took, and without what others did.
    pub(super) fn added_by_processes(&self) -> f64 {
        // Seconds per 100,000 are tens of microseconds.
        self.added(|load| load.process_us) + 10.0 * (self.measured.user + self.measured.system)
    }

    /// What a figure of the load is above the untraced one.
    pub(super) fn added(&self, figure: impl Fn(&Load) -> f64) -> f64 {
        figure(&self.measured.load) - self.mean(&figure)
    }
}

/// In the order of the subjects.
pub(super) struct Round {
    pub(super) traced: Vec<Traced>,
}

impl Round {
    /// The first of the subjects is another one in each round.
    pub(super) fn run(
        offer: &Offer,
        subjects: &[Subject],
        number: usize,
        tell: &dyn Fn(&str),
    ) -> Result<Self> {
        let first = number * BETWEEN % subjects.len();
        let order: Vec<usize> = (0..subjects.len()).map(|place| (place + first) % subjects.len()).collect();
        let mut done: Vec<Option<Traced>> = subjects.iter().map(|_| None).collect();
        let mut before = untraced(offer, tell)?;
        for group in order.chunks(BETWEEN) {
            let mut measured = Vec::new();
            for &place in group {
                let subject = &subjects[place];
                let one = measure(offer, subject, None).with_context(|| subject.name.clone())?;
                tell(&format!("{}: {:.0} connections/s", subject.name, one.load.rate));
                measured.push((place, one));
            }
            let after = untraced(offer, tell)?;
            for (place, measured) in measured {
                done[place] = Some(Traced { measured, untraced: [before, after] });
            }
            before = after;
        }
        Ok(Self { traced: done.into_iter().flatten().collect() })
    }
}

fn untraced(offer: &Offer, tell: &dyn Fn(&str)) -> Result<Load> {
    let load = Generator::start(offer)?.go()?;
    tell(&format!("untraced: {:.0} connections/s", load.rate));
    Ok(load)
}

/// The kernel's own statistics of each subject's programs, in a round of its own: counting costs some 40 ns a run.
pub(super) fn statistics(offer: &Offer, subjects: &[Subject], tell: &dyn Fn(&str)) -> Result<Vec<Vec<Runs>>> {
    let _statistics = programs::count()?;
    let mut all = Vec::new();
    for subject in subjects {
        let mut runs = Vec::new();
        measure(offer, subject, Some(&mut runs)).with_context(|| subject.name.clone())?;
        tell(&format!("{}: {} programs", subject.name, runs.len()));
        all.push(runs);
    }
    Ok(all)
}

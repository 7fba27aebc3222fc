//! Whether an event costs the same however many sockets there are: ns for each run of the programs, with few and with
//! many of them in TIME_WAIT by turns.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::load::Offer;
use super::measure::measure;
use super::programs::{self, Runs};
use super::table::median;
use super::view::Subject;

/// Sockets in TIME_WAIT that are few.
pub(super) const FEW: u32 = 1_000;

/// What a subject came to: ns a run in each round, with few sockets and with many.
pub(super) struct Cost {
    name: String,
    ns: [Vec<f64>; 2],
}

impl Cost {
    fn medians(&self) -> [f64; 2] {
        self.ns.each_ref().map(|ns| median(ns.iter().copied()))
    }

    /// What many cost of what few cost.
    fn ratio(&self) -> f64 {
        let [few, many] = self.medians();
        many / few
    }
}

/// Adds a round; the kernel's statistics have to be on. Which of the two comes first changes from round to round.
pub(super) fn round(
    offer: &Offer,
    subjects: &[Subject],
    number: u32,
    costs: &mut Vec<Cost>,
    tell: &dyn Fn(&str),
) -> Result<()> {
    costs.resize_with(subjects.len(), || Cost { name: String::new(), ns: Default::default() });
    for (subject, cost) in subjects.iter().zip(costs) {
        cost.name.clone_from(&subject.name);
        for turn in 0..2 {
            let many = (turn + number) % 2;
            let standing = [FEW, offer.standing][many as usize];
            let mut runs = Vec::new();
            measure(&Offer { standing, ..offer.clone() }, subject, Some(&mut runs))
                .with_context(|| format!("{} with {standing} sockets", subject.name))?;
            let ns = ns_per_run(&runs).with_context(|| format!("{}: no program ran", subject.name))?;
            tell(&format!("{}: {ns:.1} ns a run with {standing} sockets", subject.name));
            cost.ns[many as usize].push(ns);
        }
    }
    Ok(())
}

fn ns_per_run(runs: &[Runs]) -> Option<f64> {
    let (count, ns) = programs::totals(runs);
    (count > 0).then(|| ns as f64 / count as f64)
}

pub(super) fn text(offer: &Offer, costs: &[Cost]) -> String {
    let head = [FEW, offer.standing].map(|standing| format!("{standing} sockets"));
    let mut out = format!("{:24}  {:>22}  {:>22}  ratio\n", "ns a run", head[0], head[1]);
    for cost in costs {
        let cells = [0, 1].map(|which| {
            let (ns, median) = (&cost.ns[which], cost.medians()[which]);
            let (least, most) =
                ns.iter().fold((f64::MAX, 0.0_f64), |(least, most), ns| (least.min(*ns), most.max(*ns)));
            format!("{median:.1} ({least:.1}–{most:.1})")
        });
        // Writing to a String does not fail.
        let _ = writeln!(out, "{:24}  {:>22}  {:>22}  {:.3}", cost.name, cells[0], cells[1], cost.ratio());
    }
    out
}

pub(super) fn json(offer: &Offer, costs: &[Cost]) -> Value {
    let subjects = costs.iter().map(|cost| {
        json!({"name": cost.name, "ns_per_run_few": cost.ns[0], "ns_per_run_many": cost.ns[1], "ratio": cost.ratio()})
    });
    json!({
        "connections": offer.connections,
        "few": FEW,
        "many": offer.standing,
        "subjects": subjects.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_compared_not_single_rounds() {
        let cost = Cost { name: "it".to_owned(), ns: [vec![100.0, 90.0, 300.0], vec![110.0, 105.0, 20.0]] };
        assert!((cost.ratio() - 1.05).abs() < 1e-9);
        let offer = Offer {
            xtask: "xtask".into(),
            connections: 30_000,
            pairs: 2,
            per_second: None,
            standing: 1_000_000,
        };
        let text = text(&offer, &[cost]);
        assert!(
            text.contains("100.0 (90.0–300.0)") && text.ends_with("105.0 (20.0–110.0)  1.050\n"),
            "{text}"
        );
    }
}

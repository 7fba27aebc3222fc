//! A distribution cut into bars whose widths show its shape.
//!
//! TIME_WAIT durations come in clusters: reuse after a moment, expiry within two seconds of a minute.
//! Bars of equal or of doubling width would hide the one or the other, so each cluster gets its own.

use std::fmt;

/// Columns of the longest bar.
pub const BAR_COLUMNS: u64 = 40;
/// Empty bars in a row that are not drawn.
const SHORTEST_GAP: usize = 3;

/// Bars of the cluster that holds most.
const MAIN_BARS: u64 = 20;
/// Bars of every other cluster.
const SIDE_BARS: u64 = 10;

/// Values from `low_ns` up to, but not including, `high_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    pub low_ns: u64,
    pub high_ns: u64,
    pub count: u64,
}

/// Bars for values in ascending order with their counts. No bar overlaps another.
pub fn bars(values: &[(u64, u64)]) -> Vec<Bar> {
    let clusters = clusters(values);
    let weight = |cluster: &[(u64, u64)]| cluster.iter().map(|(_, count)| count).sum::<u64>();
    let main = clusters.iter().map(|cluster| weight(cluster)).max().unwrap_or(0);
    let mut bars = Vec::new();
    for cluster in clusters {
        let most = if weight(cluster) == main { MAIN_BARS } else { SIDE_BARS };
        push_cluster(&mut bars, cluster, most);
    }
    bars
}

/// Cuts where more than a quarter of the whole span is empty: into four pieces at most. No bar is wide enough
/// to bridge such a gap.
fn clusters(values: &[(u64, u64)]) -> Vec<&[(u64, u64)]> {
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return Vec::new() };
    let gap = ((last.0 - first.0) / 4).max(last.0 / 1_000);
    values.chunk_by(|one, next| next.0 - one.0 <= gap).collect()
}

fn push_cluster(bars: &mut Vec<Bar>, cluster: &[(u64, u64)], most: u64) {
    let (Some(first), Some(last)) = (cluster.first(), cluster.last()) else { return };
    let began = bars.len();
    let width = nice(((last.0 - first.0) / most).max(last.0 / 10_000));
    for &(value, count) in cluster {
        let low_ns = value / width * width;
        // The empty bars inside a cluster belong to its shape.
        let mut next = bars[began..].last().map_or(low_ns, |bar| bar.high_ns);
        while next <= low_ns {
            bars.push(Bar { low_ns: next, high_ns: next.saturating_add(width), count: 0 });
            next = next.saturating_add(width);
        }
        if let Some(bar) = bars.last_mut() {
            bar.count += count;
        }
    }
}

/// The next of 1, 2, 5, 10, 20, 50, …
fn nice(least: u64) -> u64 {
    let mut decade = 1;
    loop {
        if let Some(width) = [decade, 2 * decade, 5 * decade].into_iter().find(|&width| width >= least) {
            return width;
        }
        match decade.checked_mul(10) {
            Some(next) if next <= u64::MAX / 5 => decade = next,
            Some(_) | None => return least,
        }
    }
}

/// "60.0 – 60.1 s": in the unit of the value, as finely as the bars are wide.
pub fn label(bar: &Bar) -> String {
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns")];
    let (unit_ns, unit) = units.into_iter().find(|(ns, _)| bar.high_ns >= *ns).unwrap_or((1, "ns"));
    let width = bar.high_ns - bar.low_ns;
    let decimals =
        (0..9).find(|&digits| width.saturating_mul(10u64.pow(digits)) >= unit_ns).unwrap_or(9) as usize;
    let number = |ns: u64| format!("{:.decimals$}", ns as f64 / unit_ns as f64);
    format!("{} – {} {unit}", number(bar.low_ns), number(bar.high_ns))
}

/// One row a bar; what is far apart, or has [`SHORTEST_GAP`] or more empty bars between, has one "⋮" between.
pub fn write_bars(text: &mut impl fmt::Write, bars: &[Bar]) -> fmt::Result {
    let highest = bars.iter().map(|bar| bar.count).max().unwrap_or(0);
    let mut before = None;
    for run in bars.chunk_by(|one, next| (one.count == 0) == (next.count == 0)) {
        if run.len() >= SHORTEST_GAP && run.iter().all(|bar| bar.count == 0) {
            continue;
        }
        for bar in run {
            if before.is_some_and(|end| end != bar.low_ns) {
                writeln!(text, "{:>20} ⋮", "")?;
            }
            before = Some(bar.high_ns);
            let columns = columns(bar.count, highest);
            writeln!(text, "{:>20} │{} {}", label(bar), "█".repeat(columns), bar.count)?;
        }
    }
    Ok(())
}

/// Columns of a bar; one at least for what is there at all.
pub fn columns(count: u64, highest: u64) -> usize {
    (u128::from(count) * u128::from(BAR_COLUMNS)).div_ceil(u128::from(highest.max(1))) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::Random;

    const MS: u64 = 1_000_000;

    #[test]
    fn expiries_show_the_shape_of_their_two_seconds() {
        let values: Vec<_> = (60_050..62_050).map(|ms| (ms * MS, 1)).collect();
        let bars = bars(&values);
        assert_eq!(bars.len(), 21);
        assert_eq!(bars[0], Bar { low_ns: 60_000 * MS, high_ns: 60_100 * MS, count: 50 });
        assert_eq!(bars[1].count, 100);
        assert_eq!(label(&bars[0]), "60.0 – 60.1 s");
    }

    #[test]
    fn clusters_far_apart_each_get_their_own_bars() {
        let values = [(3 * MS, 5), (9 * MS, 5), (60_100 * MS, 30), (62_000 * MS, 30)];
        let bars = bars(&values);
        assert!(bars.iter().any(|bar| bar.high_ns <= 10 * MS && bar.count == 5), "{bars:?}");
        assert!(bars.iter().all(|bar| bar.high_ns <= 10 * MS || bar.low_ns >= 60_000 * MS), "{bars:?}");
    }

    #[test]
    fn one_value_is_one_bar_and_none_is_none() {
        assert_eq!(bars(&[]), []);
        assert_eq!(bars(&[(u64::MAX - 1, 1)]).len(), 1);
        let bars = bars(&[(61_923 * MS, 7)]);
        assert_eq!(bars, [Bar { low_ns: 61_920 * MS, high_ns: 61_930 * MS, count: 7 }]);
        assert_eq!(label(&bars[0]), "61.92 – 61.93 s");
    }

    #[test]
    fn labels_fit_their_unit() {
        let label = |low_ns, high_ns| label(&Bar { low_ns, high_ns, count: 0 });
        assert_eq!(label(0, 1), "0 – 1 ns");
        assert_eq!(label(1_500, 2_000), "1.5 – 2.0 µs");
        assert_eq!(label(20 * MS, 40 * MS), "20 – 40 ms");
        assert_eq!(label(0, 5_000 * MS), "0 – 5 s");
    }

    #[test]
    fn every_value_is_in_exactly_one_bar() {
        let mut random = Random::new(4);
        for _ in 0..2_000 {
            let scale = 10u64.pow(random.below(12) as u32);
            let span = 1 + scale * (1 + random.below(50));
            let mut values: Vec<_> = (0..1 + random.below(40)).map(|_| (random.below(span), 1)).collect();
            values.sort_unstable();
            values.dedup_by_key(|(value, _)| *value);
            let bars = bars(&values);
            assert!(bars.windows(2).all(|pair| pair[0].high_ns <= pair[1].low_ns), "{bars:?}");
            for bar in &bars {
                let inside = values.iter().filter(|(v, _)| (bar.low_ns..bar.high_ns).contains(v)).count();
                assert_eq!(inside as u64, bar.count, "{bar:?}");
            }
            assert_eq!(bars.iter().map(|bar| bar.count).sum::<u64>(), values.len() as u64);
            assert!(bars.len() <= 100, "{}", bars.len());
        }
    }
}

//! The stored figures, and what a new run differs from them. Pure.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// Instructions by connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Counts {
    /// Kernel release of the guest.
    pub(crate) kernel: String,
    pub(crate) connections: u32,
    /// Without a tracer.
    pub(crate) untraced: f64,
    /// `view, backend` → what that adds.
    pub(crate) views: BTreeMap<String, Added>,
}

/// What a view adds to a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Added {
    /// In its programs, by the kernel's own count.
    pub(crate) programs: f64,
    /// In the tracer's process; none where that works by time, not by connection.
    pub(crate) tracer: Option<f64>,
    /// On the connection's own way through the kernel, programs included: a difference of two large figures, which
    /// repeats to some hundred instructions only. None where it was not measured.
    pub(crate) connection: Option<f64>,
}

impl Added {
    /// What repeats to a percent.
    pub(crate) fn own(&self) -> f64 {
        self.programs + self.tracer.unwrap_or(0.0)
    }
}

/// A figure may differ from its baseline by this share of it.
const TOLERANCE: f64 = 0.05;
/// Another point release may move the untraced connection by this share: more makes it another load, which needs a
/// baseline of its own.
const DRIFT: f64 = 0.03;

/// How a count compares with a baseline.
#[derive(Debug, PartialEq)]
pub(crate) enum Comparison {
    /// The same, or sentences on what is not.
    Compared(Vec<String>),
    /// No comparison would mean anything, and why.
    BaselineDue(String),
}

impl Counts {
    /// From the lines of a guest.
    pub(crate) fn of(kernel: &str, connections: u32, lines: &[Value]) -> Result<Self> {
        let figure =
            |line: &Value, name: &str| line[name].as_f64().with_context(|| format!("{name} in {line}"));
        let untraced = lines.iter().find(|line| line["untraced"].is_number()).context("no untraced load")?;
        let untraced = figure(untraced, "untraced")?;
        let mut views = BTreeMap::new();
        for line in lines.iter().filter(|line| line["view"].is_string()) {
            let text = |name: &str| line[name].as_str().with_context(|| format!("{name} in {line}"));
            let connection = line["connection"].as_f64().map(|whole| whole - untraced);
            let added =
                Added { programs: figure(line, "programs")?, tracer: line["tracer"].as_f64(), connection };
            views.insert(key(text("view")?, text("backend")?), added);
        }
        Ok(Self { kernel: kernel.to_owned(), connections, untraced, views })
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).context("the baseline is no JSON")?;
        let figure = |value: &Value, name: &str| {
            value[name].as_f64().with_context(|| format!("the baseline's {name}"))
        };
        let views = value["views"].as_object().context("the baseline's views")?;
        let views = views.iter().map(|(name, view)| {
            let added = Added {
                programs: figure(view, "programs")?,
                tracer: view["tracer"].as_f64(),
                connection: view["added_on_its_way"].as_f64(),
            };
            Ok((name.clone(), added))
        });
        Ok(Self {
            kernel: value["kernel"].as_str().context("the baseline's kernel")?.to_owned(),
            connections: figure(&value, "connections")? as u32,
            untraced: figure(&value, "untraced")?,
            views: views.collect::<Result<_>>()?,
        })
    }

    pub(crate) fn to_json(&self) -> Value {
        let views = self.views.iter().map(|(name, added)| {
            (name.clone(), json!({ "programs": added.programs.round(), "tracer": added.tracer.map(f64::round), "added_on_its_way": added.connection.map(f64::round) }))
        });
        json!({
            "kernel": self.kernel,
            "connections": self.connections,
            "untraced": self.untraced.round(),
            "views": views.collect::<serde_json::Map<_, _>>(),
        })
    }

    /// Holds the views against the baseline's, on the same release of the kernel also the untraced connection.
    ///
    /// Another point release of the same line runs other code of the kernel's for the same work, in our programs' calls as
    /// in the connection itself: there each view is compared by its share of the untraced connection of its own guest.
    pub(crate) fn compare(&self, baseline: &Self) -> Comparison {
        if self.kernel == baseline.kernel {
            let untraced = difference("untraced", self.untraced, baseline.untraced);
            return Comparison::Compared(
                untraced.into_iter().chain(self.differences(baseline, 1.0)).collect(),
            );
        }
        let between = format!("the guest runs Linux {}, the baseline is of {}", self.kernel, baseline.kernel);
        if line_of(&self.kernel) != line_of(&baseline.kernel) {
            return Comparison::BaselineDue(format!("{between}, another line"));
        }
        let scale = self.untraced / baseline.untraced;
        if (scale - 1.0).abs() > DRIFT {
            return Comparison::BaselineDue(format!(
                "{between}, and an untraced connection takes {:.0} instructions instead of {:.0}",
                self.untraced, baseline.untraced
            ));
        }
        Comparison::Compared(self.differences(baseline, scale))
    }

    /// Sentences on the views that are not as in the baseline, whose figures are multiplied by `scale`.
    fn differences(&self, baseline: &Self, scale: f64) -> Vec<String> {
        let both = baseline.views.iter().filter_map(|(name, was)| Some((name, self.views.get(name)?, was)));
        let mut differences: Vec<_> =
            both.filter_map(|(name, is, was)| difference(name, is.own(), scale * was.own())).collect();
        let missing = |name: &String| format!("{name}: in the baseline, and not measured");
        let new = |name: &String| format!("{name}: measured, and not in the baseline");
        differences.extend(baseline.views.keys().filter(|name| !self.views.contains_key(*name)).map(missing));
        differences.extend(self.views.keys().filter(|name| !baseline.views.contains_key(*name)).map(new));
        differences
    }
}

/// A sentence, where the figure is not as it was.
fn difference(name: &str, is: f64, was: f64) -> Option<String> {
    let change = 100.0 * (is / was - 1.0);
    ((is - was).abs() > TOLERANCE * was.abs()).then(|| {
        format!("{name}: {is:.0} instructions by connection, {was:.0} in the baseline ({change:+.1}%)")
    })
}

/// `6.12` of `6.12.118+deb13-cloud-amd64`, of `6.12-rc1` and of `6.12`.
fn line_of(release: &str) -> (&str, &str) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

fn key(view: &str, backend: &str) -> String {
    format!("{view}, {backend}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(tracer: f64) -> Vec<Value> {
        vec![
            json!({ "untraced": 1000.0 }),
            json!({ "view": "trace", "backend": "fentry", "connection": 1100.0, "programs": 100.0, "tracer": tracer }),
        ]
    }

    fn counts(tracer: f64) -> Counts {
        Counts::of("6.12.117+deb13-cloud-amd64", 10, &lines(tracer)).expect("counts")
    }

    fn differences(counts: &Counts, baseline: &Counts) -> Vec<String> {
        match counts.compare(baseline) {
            Comparison::Compared(differences) => differences,
            Comparison::BaselineDue(why) => panic!("not compared: {why}"),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = counts(100.0).to_json().to_string();
        assert_eq!(Counts::parse(&text).expect("a baseline"), counts(100.0));
    }

    #[test]
    fn five_percent_are_borne_and_no_more() {
        let baseline = counts(100.0);
        assert_eq!(differences(&counts(109.0), &baseline), [""; 0]);
        assert_eq!(
            differences(&counts(89.0), &baseline),
            ["trace, fentry: 189 instructions by connection, 200 in the baseline (-5.5%)"]
        );
    }

    #[test]
    fn a_view_without_baseline_and_a_baseline_without_view_are_told() {
        let mut more = counts(100.0);
        more.views.insert("hist, kprobe".to_owned(), Added { programs: 1.0, tracer: None, connection: None });
        assert!(differences(&more, &counts(100.0))[0].contains("not in the baseline"));
        assert!(differences(&counts(100.0), &more)[0].contains("not measured"));
    }

    /// The same connection on the next point release, where the kernel takes that much more for everything.
    fn next_release(tracer: f64, more: f64) -> Counts {
        let mut next = counts(tracer);
        next.kernel = "6.12.118+deb13-cloud-amd64".to_owned();
        next.untraced *= more;
        next
    }

    #[test]
    fn another_point_release_is_compared_by_the_share_of_the_untraced_connection() {
        let baseline = counts(100.0);
        assert_eq!(differences(&next_release(100.0, 1.02), &baseline), [""; 0]);
        // 6% more, of which the kernel explains 2.
        assert_eq!(differences(&next_release(112.0, 1.02), &baseline), [""; 0]);
        assert_eq!(
            differences(&next_release(116.0, 1.02), &baseline),
            ["trace, fentry: 216 instructions by connection, 204 in the baseline (+5.9%)"]
        );
        assert_eq!(differences(&next_release(116.0, 0.98), &baseline).len(), 1);
    }

    #[test]
    fn another_line_or_another_load_needs_a_baseline_of_its_own() {
        let due = |next: &Counts| match next.compare(&counts(100.0)) {
            Comparison::BaselineDue(why) => why,
            Comparison::Compared(differences) => panic!("compared: {differences:?}"),
        };
        let why = due(&next_release(100.0, 1.04));
        assert!(why.contains("6.12.118+deb13") && why.contains("1040 instructions instead of 1000"), "{why}");
        let other = Counts { kernel: "6.18.15+deb13-cloud-amd64".to_owned(), ..counts(100.0) };
        assert!(due(&other).ends_with("another line"));
        let longer = Counts { kernel: "6.1.117-cloud-amd64".to_owned(), ..counts(100.0) };
        assert!(due(&longer).ends_with("another line"));
    }
}

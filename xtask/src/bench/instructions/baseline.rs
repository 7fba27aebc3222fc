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

    /// Sentences on what is not as in the baseline.
    pub(crate) fn differences(&self, baseline: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |name: &str, is: f64, was: f64| {
            if (is - was).abs() > TOLERANCE * was.abs() {
                let change = 100.0 * (is / was - 1.0);
                differences.push(format!(
                    "{name}: {is:.0} instructions by connection, {was:.0} in the baseline ({change:+.1}%)"
                ));
            }
        };
        compare("untraced", self.untraced, baseline.untraced);
        for (name, was) in &baseline.views {
            if let Some(is) = self.views.get(name) {
                compare(name, is.own(), was.own());
            }
        }
        let missing = |name: &String| format!("{name}: in the baseline, and not measured");
        let new = |name: &String| format!("{name}: measured, and not in the baseline");
        differences.extend(baseline.views.keys().filter(|name| !self.views.contains_key(*name)).map(missing));
        differences.extend(self.views.keys().filter(|name| !baseline.views.contains_key(*name)).map(new));
        differences
    }
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
        Counts::of("6.12", 10, &lines(tracer)).expect("counts")
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = counts(100.0).to_json().to_string();
        assert_eq!(Counts::parse(&text).expect("a baseline"), counts(100.0));
    }

    #[test]
    fn five_percent_are_borne_and_no_more() {
        let baseline = counts(100.0);
        assert!(counts(109.0).differences(&baseline).is_empty());
        let differences = counts(89.0).differences(&baseline);
        assert_eq!(
            differences,
            ["trace, fentry: 189 instructions by connection, 200 in the baseline (-5.5%)"]
        );
    }

    #[test]
    fn a_view_without_baseline_and_a_baseline_without_view_are_told() {
        let mut more = counts(100.0);
        more.views.insert("hist, kprobe".to_owned(), Added { programs: 1.0, tracer: None, connection: None });
        assert!(more.differences(&counts(100.0))[0].contains("not in the baseline"));
        assert!(counts(100.0).differences(&more)[0].contains("not measured"));
    }
}

//! Distributions as `tw-trace hist` tells them, and the same made of the events that it tells with them.

use std::collections::BTreeMap;

use serde_json::Value;
use tw_trace_common::histogram::{high, index, low};

/// What a distribution holds, in whatever order it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    pub count: u64,
    pub sum: u64,
    pub min: Option<u64>,
    pub max: Option<u64>,
    /// By their bounds.
    pub buckets: BTreeMap<(u64, u64), u64>,
}

impl Distribution {
    pub fn insert(&mut self, value: u64) {
        let bucket = index(value);
        self.count += 1;
        self.sum = self.sum.wrapping_add(value);
        self.extremes(value, value);
        *self.buckets.entry((low(bucket), high(bucket))).or_default() += 1;
    }

    /// Adds what a hist line tells. What is no number counts as zero, and so is found missing.
    pub fn add(&mut self, told: &Value) {
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        self.count += number(&told["count"]);
        self.sum = self.sum.wrapping_add(number(&told["sum"]));
        self.extremes(number(&told["min"]), number(&told["max"]));
        for bucket in told["buckets"].as_array().into_iter().flatten() {
            *self.buckets.entry((number(&bucket[0]), number(&bucket[1]))).or_default() += number(&bucket[2]);
        }
    }

    fn extremes(&mut self, min: u64, max: u64) {
        self.min = Some(self.min.map_or(min, |least| least.min(min)));
        self.max = Some(self.max.map_or(max, |most| most.max(max)));
    }
}

/// By what they are of, as in "time_wait expired", "dwell ESTABLISHED", "lateness".
pub type Distributions = BTreeMap<String, Distribution>;

/// Those that the hist lines tell, added up.
pub fn told(lines: &[Value]) -> Distributions {
    let mut all = Distributions::new();
    for line in lines.iter().filter(|line| line["event"] == "hist") {
        for told in line["distributions"].as_array().into_iter().flatten() {
            let of = [&told["of"], &told["reason"], &told["state"]];
            let of: Vec<_> = of.into_iter().filter_map(Value::as_str).collect();
            all.entry(of.join(" ")).or_default().add(told);
        }
    }
    all
}

/// The same, of the events.
pub fn made_of(events: &[Value]) -> Distributions {
    let mut all = Distributions::new();
    let mut insert = |of: String, value: &Value| {
        if let Some(value) = value.as_u64() {
            all.entry(of).or_default().insert(value);
        }
    };
    for event in events {
        // close() after shutdown() sets the state again, and does not leave it.
        if event["event"] == "state" && event["old"] != event["new"] {
            insert(format!("dwell {}", name(&event["old"])), &event["dwell_ns"]);
        }
        if event["event"] != "tw_exit" {
            continue;
        }
        if event["reason"] == "expired" {
            insert("lateness".to_owned(), &event["lateness_ns"]);
        }
        if event["entered"] == "exact" && event["fin_wait2_ns"] != 0 {
            insert("fin_wait2".to_owned(), &event["fin_wait2_ns"]);
        }
        if is_dated(event) {
            insert(format!("time_wait {}", name(&event["reason"])), &event["duration_ns"]);
        }
    }
    all
}

/// Whether an exit tells a time in TIME_WAIT whose beginning was seen.
pub fn is_dated(exit: &Value) -> bool {
    exit["entered"] == "exact" && exit["substate"] == "TIME_WAIT"
}

fn name(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

/// What differs, a line each.
pub fn differences(told: &Distributions, made_of: &Distributions) -> Vec<String> {
    let nothing = Distribution::default();
    let names = told.keys().chain(made_of.keys().filter(|of| !told.contains_key(*of)));
    let pairs = names.map(|of| (of, told.get(of).unwrap_or(&nothing), made_of.get(of).unwrap_or(&nothing)));
    pairs
        .filter(|(_, told, made_of)| told != made_of)
        .map(|(of, told, made_of)| format!("{of}: counted {told:?}, but of the events {made_of:?}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_same_values_are_the_same_distributions() {
        let exit = |ns: u64, entered: &str| {
            json!({"event": "tw_exit", "reason": "expired", "lateness_ns": 5, "entered": entered, "fin_wait2_ns": 0,
                   "substate": "TIME_WAIT", "duration_ns": ns})
        };
        let events = [exit(20, "exact"), exit(40, "exact"), exit(1, "estimated")];
        let line = json!({"event": "hist", "distributions": [
            {"of": "time_wait", "reason": "expired", "count": 2, "sum": 60, "min": 20, "max": 40,
             "buckets": [[20, 21, 1], [40, 42, 1]]},
            {"of": "lateness", "count": 3, "sum": 15, "min": 5, "max": 5, "buckets": [[5, 6, 3]]},
        ]});
        let told = told(&[line]);
        assert_eq!(differences(&told, &made_of(&events)), [""; 0]);
        let lacking = differences(&told, &made_of(&events[..2]));
        assert!(lacking.len() == 1 && lacking[0].starts_with("lateness: "), "{lacking:?}");
    }
}

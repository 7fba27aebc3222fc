//! A distribution's keys, with its buckets, so that others can add distributions up.

use serde_json::{Map, Value, json};

use crate::buckets::Buckets;

/// Null where there is no value.
pub fn distribution(buckets: &Buckets) -> Value {
    if buckets.count() == 0 { Value::Null } else { Value::Object(keys(buckets)) }
}

/// The keys of one that has values.
pub fn keys(buckets: &Buckets) -> Map<String, Value> {
    let filled: Vec<_> = buckets.filled().map(|(from, to, count)| [from, to, count]).collect();
    let keys = [
        ("count", json!(buckets.count())),
        ("sum", json!(buckets.sum())),
        ("min", json!(buckets.min())),
        ("p50", json!(buckets.quantile(500))),
        ("p90", json!(buckets.quantile(900))),
        ("p99", json!(buckets.quantile(990))),
        ("p999", json!(buckets.quantile(999))),
        ("max", json!(buckets.max())),
        ("buckets", json!(filled)),
    ];
    keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

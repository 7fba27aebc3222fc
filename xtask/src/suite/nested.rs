//! Losses to nesting: the kernel does not run a program inside itself (tracing programs since 5.12), and tw-trace counts
//! what it so did not see. On an emulated CPU a program takes so long that softirqs come in now and then.

use serde_json::Value;

/// What a summary lost, as verdicts tell it.
pub(super) fn loss(summary: &Value) -> String {
    format!("lost {}: {}", summary["lost"], summary["lost_by"])
}

/// How many records were lost, if that is all that such a verdict says and all of them were lost to nesting.
pub fn told(loss: &str) -> Option<u64> {
    let (_, lost_by) = loss.strip_prefix("lost ")?.split_once(": ")?;
    only(&serde_json::from_str(lost_by).ok()?)
}

/// How many, if nothing else was lost.
pub(super) fn only(lost_by: &Value) -> Option<u64> {
    let causes = lost_by.as_object()?;
    causes.keys().eq(["recursion"]).then(|| causes["recursion"].as_u64()).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_verdict_says_is_understood() {
        let told = |lost_by: Value| told(&loss(&json!({"lost": 24, "lost_by": lost_by})));
        assert_eq!(told(json!({"recursion": 24})), Some(24));
        assert_eq!(told(json!({"recursion": 23, "ring_state": 1})), None);
        assert_eq!(told(json!({})), None);
        assert_eq!(super::told("not balanced: [\"lost 1: {}\"]"), None);
    }
}

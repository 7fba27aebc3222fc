//! How long an expired socket must have lived, by the model of the timer wheel: nothing of it is measured.

use serde_json::Value;

use super::Lateness;

/// Slots of a level are 8 times as wide as those of the one below.
const LEVEL_SHIFT: u64 = 3;
/// How well tw-trace knows when in time a jiffy begins; it says so when it knows less well.
const PHASE_NS: u64 = 50_000;
/// What a tick may come late where CPUs are taken away for a while, as a busy host does with its guests.
const TAKEN_AWAY_NS: u64 = 20_000_000;
/// What softirqs of a machine with other work may cost.
const TOLERATED_NS: u64 = 250_000_000;

/// Where the times that a `tw_exit` tells differ from the model.
pub(super) fn problems(exit: &Value, tick_ns: u64, lateness: Lateness) -> Vec<String> {
    let ends = format!("{}:{} > {}:{}", exit["laddr"], exit["lport"], exit["raddr"], exit["rport"]);
    let mut problems = Vec::new();
    let mut object = |what: String| problems.push(format!("{ends}: {what}"));
    let number = |key: &str| exit[key].as_u64();
    let wheel = |key: &str| exit["wheel"][key].as_u64();
    let (Some(level), Some(expires), Some(bucket)) = (wheel("level"), wheel("expires"), wheel("bucket"))
    else {
        object(format!("expired, but nothing is told of its wheel: {}", exit["wheel"]));
        return problems;
    };
    let shift = level * LEVEL_SHIFT;
    let model = ((expires >> shift) + 1) << shift;
    if bucket != model {
        object(format!("fired in bucket {bucket}, the model of level {level} says {model}"));
    }
    let (allowed, tick_late) = match lateness {
        Lateness::Exact => (tick_ns, PHASE_NS),
        Lateness::Tolerant => (TOLERATED_NS, TAKEN_AWAY_NS),
    };
    match number("lateness_ns") {
        Some(late) if late <= allowed => {}
        late => object(format!("its timer fired {late:?} ns late, not at most {allowed}")),
    }
    let rounding = (model - expires) * tick_ns;
    // Between two ticks the clock of jiffies stands still: when armed late in one, up to a tick is missing, and what
    // the tick's interrupt came late itself.
    let told = number("rounding_ns");
    if !told.is_some_and(|told| {
        (rounding.saturating_sub(tick_ns + tick_late)..=rounding + PHASE_NS).contains(&told)
    }) {
        object(format!("rounding {told:?} ns, the model says {rounding} or up to a tick less"));
    }
    match (number("since_arming_ns"), number("timeout_ns")) {
        (Some(lived), Some(timeout)) => {
            let least = (timeout + rounding).saturating_sub(tick_ns + tick_late);
            let most = timeout + rounding + allowed + PHASE_NS;
            if !(least..=most).contains(&lived) {
                object(format!("lived {lived} ns after its arming, the model says {least} – {most}"));
            }
        }
        // A FIN_WAIT2 socket of before the start: its arming is unknown.
        _ if exit["seeded"] == true && exit["substate"] == "FIN_WAIT2" => {}
        other => object(format!("expired, but (since_arming_ns, timeout_ns) is {other:?}")),
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// HZ=250: 60 s armed at jiffy 1,000, in the slot that ends at 16,384.
    fn exit() -> Value {
        json!({
            "laddr": "127.0.0.1", "lport": 1, "raddr": "127.0.0.1", "rport": 2, "seeded": false,
            "wheel": {"level": 3, "expires": 16_000, "bucket": 16_384},
            "timeout_ns": 60_000_000_000_u64, "rounding_ns": 1_536_000_000, "lateness_ns": 5_000,
            "since_arming_ns": 61_534_000_000_u64,
        })
    }

    #[test]
    fn a_life_by_the_model_is_right() {
        assert_eq!(problems(&exit(), 4_000_000, Lateness::Exact), Vec::<String>::new());
    }

    #[test]
    fn each_figure_is_looked_at() {
        let wrong = |key: &str, value: u64| {
            let mut exit = exit();
            exit[key] = value.into();
            problems(&exit, 4_000_000, Lateness::Exact).len()
        };
        assert_eq!(wrong("since_arming_ns", 61_541_000_000), 1);
        assert_eq!(wrong("since_arming_ns", 61_531_000_000), 1);
        assert_eq!(wrong("rounding_ns", 1_536_100_000), 1);
        assert_eq!(wrong("rounding_ns", 1_531_000_000), 1);
        assert_eq!(wrong("lateness_ns", 4_000_001), 1);
        let mut moved = exit();
        moved["wheel"]["bucket"] = 16_896.into();
        assert_eq!(problems(&moved, 4_000_000, Lateness::Exact).len(), 1);
    }
}

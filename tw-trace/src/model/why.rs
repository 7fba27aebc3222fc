//! Two sentences that say why TIME_WAIT lasts as long as it does.

use super::{Clipped, Inputs, Prediction, Timing};
use crate::sink::fmt::{duration, round};

/// Sockets that a tick of the death row kills before it calls for help.
const TICK_KILLS: u64 = 101;

/// The two sentences.
pub fn why(inputs: &Inputs, prediction: &Prediction) -> [String; 2] {
    let (timer, hz) = (prediction.timer, inputs.tick.hz);
    let timeout = round(inputs.timeout_ns);
    let ns = |jiffies: u64| round(jiffies.saturating_mul(timer.tick_ns));
    let range = format!("{} – {}", round(timer.bounds_ns.0), round(timer.bounds_ns.1));
    match timer.place {
        Timing::Wheel { level, granularity, clipped } => {
            let width = ns(granularity);
            let first = match clipped {
                Clipped::No => format!(
                    "HZ={hz} puts a {timeout} timer on level {level} of the timer wheel, whose slots fire every \
                     {width} and never early: a socket lasts {range}, depending on where in a slot its close() falls."
                ),
                Clipped::Yes => format!(
                    "At HZ={hz} a {timeout} timer is beyond the capacity of the timer wheel and goes to its last \
                     slot: a socket lasts {range}."
                ),
            };
            let sizes = sizes(prediction);
            [first, format!("All that one CPU armed within a slot of {width} end in one softirq: {sizes} at once.")]
        }
        Timing::Exact => [
            format!(
                "From 4.1 to 4.7 each time-wait socket has a timer of its own (mod_timer_pinned, commit 789f558cfb36) \
                 on the old cascading wheel, which fires in the jiffy that was asked for: {timeout}, less the part of \
                 a jiffy that had passed at close()."
            ),
            format!("Nothing is rounded and nothing collected, so sockets end as they came: {} in a jiffy.", sizes(prediction)),
        ],
        Timing::Slow { ahead, period } => slow(inputs, prediction, ahead, period),
        Timing::Recycle { ticks, width } => [
            format!(
                "Linux up to 4.0 keeps a timeout this short on the death row's 32 recycle slots of {} (HZ={hz}): \
                 {timeout} is {ticks} slots ahead of the hand.",
                ns(width)
            ),
            "That hand is moved only when a slot is due and may lag behind the clock, so a socket can end earlier than \
             asked for when another one's slot is due."
                .to_owned(),
        ],
    }
}

fn slow(inputs: &Inputs, prediction: &Prediction, ahead: u64, period: u64) -> [String; 2] {
    let timer = prediction.timer;
    let ns = |periods: u64| round((periods * period).saturating_mul(timer.tick_ns));
    let first = format!(
        "Linux up to 4.0 sweeps TIME_WAIT with one hand over eight slots, a slot every {}; a {} timeout goes {ahead} \
         slots ahead of the hand, which a row that keeps up reaches after {} – {}.",
        ns(1),
        round(inputs.timeout_ns),
        ns(ahead),
        ns(ahead + 1)
    );
    let sizes = &prediction.bursts.sizes;
    let over: u64 =
        sizes.values().iter().filter(|(size, _)| *size >= TICK_KILLS).map(|(_, count)| count).sum();
    let second = if over == 0 {
        format!(
            "No tick finds more than {} sockets and {TICK_KILLS} fit, so the hand never waits.",
            sizes.max()
        )
    } else if sizes.count() == 1 {
        format!(
            "The first socket into an empty row starts the hand, and all that came with it end in the same tick: \
             {TICK_KILLS} by the timer, the others by a work item at once."
        )
    } else {
        format!(
            "A tick that finds {TICK_KILLS} or more sockets leaves the rest to a work item and the hand where it is, \
             so each such slot ahead adds {}: {over} of {} slots here, for up to {}, and never more than {}.",
            ns(1),
            sizes.count(),
            duration(prediction.durations.max()),
            round(timer.bounds_ns.1)
        )
    };
    [first, second]
}

/// "1000", or "998 – 1003"
fn sizes(prediction: &Prediction) -> String {
    let sizes = &prediction.bursts.sizes;
    match (sizes.min(), sizes.max()) {
        (least, most) if least == most => most.to_string(),
        (least, most) => format!("{least} – {most} (mostly about {})", sizes.percentile(50)),
    }
}

//! `tw-trace wheel`: where time-wait timers sit on the timer wheel, when they fire, and how large the bursts are.

use std::time::Duration;

use anyhow::Result;
use tw_trace_common::{config::Cell, histogram::Series};

use super::setup::{attempts, netns, scope, steps, style};
use crate::{
    begin::{About, Begun, Tell},
    cli::{FilterArgs, WheelArgs},
    exit::Usage,
    filter,
    kernel::{
        netns::{Budget, Counters, Place, find, visit},
        plan::Wants,
        prepare::Resolved,
        settings::{Log, Settings, Sizes},
        snapshots::NetnsId,
        wheel::slots,
    },
    stop::Stop,
    warning::Warning,
    watch::{Pace, watch},
};
use frame::Jiffies;
use view::{Format, WheelView};

pub mod audit;
pub mod frame;
pub mod json;
pub mod saved;
pub mod text;
pub mod view;

/// Timers that may be armed while those of before the start are being counted.
const MEANWHILE: u64 = 1 << 17;
/// So long may it take to go through all namespaces for that.
const COUNTING: Duration = Duration::from_millis(500);

pub fn wheel(args: &WheelArgs, verbose: u8) -> Result<()> {
    if let Some(path) = &args.from {
        return saved::show(path, style(), !args.quiet);
    }
    let steps = steps(verbose)?;
    refuse_what_timers_do_not_know(&args.filters)?;
    let netns = netns(&args.filters)?;
    let filter = filter::resolve(&args.filters, netns, None).map_err(Usage)?;
    let mut attempts = attempts(&args.attach, Wants::WHEEL, &steps)?;
    let wheel_slots = slots()?;
    let seeds = living(netns, &steps.listener.stop) + MEANWHILE;
    let settings = |kernel: &Resolved| Settings {
        sizes: Sizes {
            wheel_slots,
            wheel_seeds: u32::try_from(seeds.next_power_of_two()).unwrap_or(u32::MAX),
            histograms: Series::COUNT,
            ..Sizes::LEAST
        },
        ..Settings::new(kernel, filter.filter, if verbose == 0 { Log::Reason } else { Log::Whole })
    };
    let about = About {
        scope: scope(&filter),
        filters: filter.given.clone(),
        netns,
        duration: args.attach.duration,
        count: None,
        summary: Tell::Yes,
        steps,
    };
    let pace = Pace { interval: args.interval, count: args.count };
    let format = if args.json { Format::Json } else { Format::Text(style()) };
    watch(&mut attempts, settings, &about, pace, Warning::tell, |begun, out| {
        let Begun { kernel, loaded, .. } = begun;
        let jiffies = Jiffies { tick: kernel.tick, zero_ns: loaded.cell(Cell::JiffyZeroNs)? };
        let slots = loaded.take_slots()?;
        Ok(Box::new(WheelView::new(out, format, slots, jiffies, [!args.quiet, netns.is_some()])))
    })
}

/// A timer leads to its socket, but not to who closed that, and it is counted before it is known why it ends.
fn refuse_what_timers_do_not_know(filters: &FilterArgs) -> Result<(), Usage> {
    let FilterArgs { pid, comm, cgroup, netns: _, local: _, remote: _, port: _, family: _, state, reason } =
        filters;
    let given = [
        ("--pid", pid.is_some()),
        ("--comm", comm.is_some()),
        ("--cgroup", cgroup.is_some()),
        ("--state", !state.is_empty()),
        ("--reason", !reason.is_empty()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Usage(format!(
            "{option}: timers on the wheel are not told apart by this, so nothing could be selected; use --netns, \
             --local, --remote, --port or --family, or `tw-trace trace {option} …`"
        ))),
        None => Ok(()),
    }
}

/// Time-wait sockets there are now, as far as the namespaces can be read.
fn living(only: Option<NetnsId>, stop: &Stop) -> u64 {
    let wanted = |place: &Place| only.is_none_or(|only| only.inode == place.inode);
    let places: Vec<_> = find().places.into_values().filter(wanted).collect();
    let budget = Budget { time: COUNTING, stop: Some(stop) };
    let visited =
        visit(&places, &budget, || (Counters::read(), Duration::ZERO), || Ok(())).unwrap_or_default();
    visited.into_values().filter_map(|counters| counters.ok()?.ok()).map(|counters| counters.tw).sum()
}

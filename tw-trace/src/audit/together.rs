//! The counters of all namespaces together, for views that do not tell namespaces apart.

use tw_trace_common::followed::Ledger;

use super::readings::readings;
use super::unread::Unread;
use super::{CountedAt, Namespace, TW, TW_KILLED};

/// What the kernel counted in all namespaces together, each figure as the least and the most that it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// New time-wait sockets; None on kernels that count them only when they end.
    pub armed: Option<(u64, u64)>,
    /// Living ones when the last program was detached.
    pub living: (u64, u64),
}

/// Adds up the namespaces that could be read; with it, what could not be.
pub fn growth(namespaces: &[Namespace], counted_at: CountedAt) -> (Growth, Vec<String>) {
    let mut growth = Growth {
        armed: match counted_at {
            CountedAt::Arming => Some((0, 0)),
            CountedAt::Firing => None,
        },
        living: (0, 0),
    };
    let mut unread = Unread::default();
    for namespace in namespaces {
        match readings(namespace) {
            Ok(readings) => {
                let living = readings.living(counted_at);
                growth.living = (growth.living.0 + living.low, growth.living.1 + living.high);
                growth.armed = growth.armed.and_then(|(low, high)| {
                    let armed = readings.growth(&[TW, TW_KILLED])?;
                    Some((low + armed.low, high + armed.high))
                });
            }
            Err(why) => unread.add(why, namespace.inode.into(), &Ledger::ZERO),
        }
    }
    let why = "so the kernel's counters are only known to be no less than the others'";
    (growth, unread.reasons().map(|reason| format!("{reason}, {why}")).collect())
}

//! How long a time-wait socket that ends has lived, as far as that is known.

use tw_trace_common::{
    event::{NONE_NS, exit_flags},
    followed::TimeWait,
    state::Substate,
};

use crate::{globals, hook::length};

const FIN_WAIT2: u8 = Substate::FinWait2 as u8;

/// What is known of the times of a socket that ends.
pub(crate) struct Dated {
    pub(crate) duration_ns: u64,
    pub(crate) fin_wait2_ns: u64,
    pub(crate) since_arming_ns: u64,
    pub(crate) timeout_jiffies: u64,
}

/// Whether the start of TIME_WAIT was worked out, not seen.
#[inline(always)]
pub(crate) fn is_estimated(known: &TimeWait) -> bool {
    known.flags & (exit_flags::SEEDED | exit_flags::HIDDEN_FLIP) != 0
}

impl Dated {
    #[inline(always)]
    pub(crate) fn of(known: &TimeWait, expires: u64, now: u64) -> Self {
        if known.flags & exit_flags::SEEDED != 0 {
            return Self::of_seeded(known, expires, now);
        }
        let in_fin_wait2 = known.substate == FIN_WAIT2;
        let (duration_ns, fin_wait2_ns) = if in_fin_wait2 {
            (0, now - known.began_ns)
        } else if known.entered_ns == 0 {
            (NONE_NS, NONE_NS)
        } else {
            (now.saturating_sub(known.entered_ns), known.entered_ns.saturating_sub(known.began_ns))
        };
        let since_arming_ns = if known.armed_ns == 0 { NONE_NS } else { now.saturating_sub(known.armed_ns) };
        Self { duration_ns, fin_wait2_ns, since_arming_ns, timeout_jiffies: u64::from(known.timeout_jiffies) }
    }

    /// The start of a seeded socket is worked out from `expires` and the TIME_WAIT length learned since.
    #[inline(always)]
    fn of_seeded(known: &TimeWait, expires: u64, now: u64) -> Self {
        if known.armed_ns != 0 {
            // Restarted since: the last arming was seen, the first was not.
            let since_arming_ns = now.saturating_sub(known.armed_ns);
            let duration_ns = if known.substate == FIN_WAIT2 {
                0
            } else if known.entered_ns != 0 {
                now.saturating_sub(known.entered_ns)
            } else {
                NONE_NS
            };
            let timeout_jiffies = u64::from(known.timeout_jiffies);
            return Self { duration_ns, fin_wait2_ns: NONE_NS, since_arming_ns, timeout_jiffies };
        }
        let timeout = length::known();
        if known.substate == FIN_WAIT2 || timeout == 0 {
            let duration_ns = if known.substate == FIN_WAIT2 { 0 } else { NONE_NS };
            return Self { duration_ns, fin_wait2_ns: NONE_NS, since_arming_ns: NONE_NS, timeout_jiffies: 0 };
        }
        let since = now.saturating_sub(globals::jiffy_ns(known.full_expires(expires) - timeout));
        Self { duration_ns: since, fin_wait2_ns: NONE_NS, since_arming_ns: since, timeout_jiffies: timeout }
    }
}

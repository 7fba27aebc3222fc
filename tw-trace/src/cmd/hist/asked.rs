//! What is to be counted, and so what is to be watched: nothing that nobody asks for.

use tw_trace_common::{
    config::mode_bits, event::Kind, histogram::Series, state::ExitReason, state::TcpState,
};

use super::{ENDS, STATES};
use crate::{
    cli::{ByArg, FilterArgs, HistArgs, Of},
    kernel::plan::Wants,
};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) time_waits: bool,
    /// The time of full sockets in each state.
    pub(super) dwell: bool,
    /// Whose a connection is matters, to a filter or to a key.
    pub(super) owners: bool,
    pub(super) by: Option<ByArg>,
    /// Keys that are shown.
    pub(super) top: usize,
}

impl Asked {
    /// Refuses what together can count nothing.
    pub(super) fn new(args: &HistArgs) -> Result<Self, String> {
        let filters = &args.filters;
        let any_state = |which: fn(TcpState) -> bool| {
            filters.state.is_empty() || filters.state.iter().any(|state| which(*state))
        };
        let time_waits = args.of != Of::Dwell && any_state(has_time_waits);
        let dwell = args.of != Of::TimeWait && filters.reason.is_empty() && any_state(is_of_full_sockets);
        if !time_waits && !dwell {
            return Err(
                "these --of, --state and --reason together match nothing: --reason goes with time-wait, \
                        --state with dwell, TIME_WAIT and FIN_WAIT2 also with time-wait"
                    .to_owned(),
            );
        }
        if args.by.is_some() && !time_waits {
            return Err(
                "--by tells times in TIME_WAIT apart, and with these options none are counted; drop --by, \
                        or use --of time-wait"
                    .to_owned(),
            );
        }
        let owners = asks_for_owners(filters) || matches!(args.by, Some(ByArg::Process | ByArg::Cgroup));
        Ok(Self { time_waits, dwell, owners, by: args.by, top: args.top as usize })
    }

    /// What the distributions are made of.
    pub(super) fn kinds(self) -> Vec<Kind> {
        let kinds = [(self.time_waits, ENDS), (self.dwell, STATES)];
        kinds.into_iter().filter(|(is_asked, _)| *is_asked).map(|(_, kind)| kind).collect()
    }

    pub(super) fn wants(self) -> Wants {
        let wants = Wants::kinds(&self.kinds());
        if self.owners { wants } else { wants.without_owners() }
    }

    /// Bits of `mode_bits`.
    pub(super) fn mode(self) -> u16 {
        let bits = [
            (!self.owners, mode_bits::OWNERLESS),
            (self.time_waits, mode_bits::COUNT_TIME_WAITS),
            (self.dwell, mode_bits::COUNT_DWELL),
        ];
        bits.into_iter().filter(|(is_on, _)| *is_on).fold(0, |mode, (_, bit)| mode | bit)
    }

    /// Whether there is anything to remember of full sockets.
    pub(super) const fn follows_sockets(self) -> bool {
        self.dwell || self.owners
    }

    /// All distributions, in the order in which they are told.
    pub(super) fn series(self) -> Vec<Series> {
        let mut series = Vec::new();
        if self.time_waits {
            series.extend(ExitReason::ALL.iter().map(|reason| Series::TimeWait(*reason)));
            series.extend([Series::FinWait2, Series::Lateness]);
        }
        if self.dwell {
            series.extend(TcpState::ALL.iter().map(|state| Series::Dwell(*state)));
        }
        series
    }
}

/// Time-wait sockets stand for either.
fn has_time_waits(state: TcpState) -> bool {
    matches!(state, TcpState::TimeWait | TcpState::FinWait2)
}

/// A full socket is never in TIME_WAIT.
fn is_of_full_sockets(state: TcpState) -> bool {
    state != TcpState::TimeWait
}

fn asks_for_owners(filters: &FilterArgs) -> bool {
    filters.pid.is_some() || filters.comm.is_some() || filters.cgroup.is_some()
}

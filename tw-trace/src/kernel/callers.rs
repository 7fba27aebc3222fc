//! Which kernel functions tell why a time-wait timer was taken off the wheel, and where they lie.

use tw_trace_common::config::{CALLER_RANGES, Caller, CallerRange};

pub use super::names::TIMER_HANDLER;
use super::{kallsyms::Symbols, names::frames};

/// One kind of caller, the functions that stand for it, and what is not told without any of them.
pub struct Row {
    pub caller: Caller,
    pub functions: &'static [&'static str],
    pub without: &'static str,
}

/// kernel/time/timer.c, net/ipv4/{inet_timewait_sock,tcp_minisocks,inet_hashtables,tcp_ipv4,tcp}.c,
/// net/ipv6/{inet6_hashtables,tcp_ipv6}.c; 5.10 – 7.3. The innermost frame decides, so an inlined function
/// falls to the one it was inlined into.
pub const CALLERS: &[Row] = &[
    Row {
        caller: Caller::Firing,
        functions: frames::FIRING,
        without: "expiries cannot be told from early ends",
    },
    Row {
        caller: Caller::Rearming,
        functions: frames::REARMING,
        without: "re-arms cannot be told from early ends",
    },
    Row {
        caller: Caller::Connect,
        functions: frames::CONNECT,
        without: "exit reason reused is told as unknown",
    },
    Row {
        caller: Caller::StateProcess,
        functions: frames::STATE_PROCESS,
        without: "exit reason rst is told as reset_sent or new_syn",
    },
    Row {
        caller: Caller::Receive,
        functions: frames::RECEIVE,
        without: "exit reasons new_syn and reset_sent are told as unknown",
    },
    Row { caller: Caller::Abort, functions: frames::ABORT, without: "exit reason killed is told as unknown" },
    Row {
        caller: Caller::Moving,
        functions: frames::MOVING,
        without: "timers of a CPU that goes offline are reported as ended for an unknown reason, and begun anew",
    },
    Row {
        caller: Caller::Purge,
        functions: frames::PURGE,
        without: "exit reason netns_gone is told as unknown",
    },
];

/// All functions whose addresses are wanted.
pub fn wanted() -> Vec<&'static str> {
    let mut names = vec![TIMER_HANDLER];
    names.extend(CALLERS.iter().flat_map(|row| row.functions));
    names
}

/// The text ranges of all callers, and what cannot be told for want of a symbol.
pub struct Ranges {
    pub ranges: [CallerRange; CALLER_RANGES],
    pub blind_spots: Vec<String>,
    /// Why a timer that leaves the wheel says nothing: expiries or re-arms cannot be told from ends.
    pub undecided: Vec<String>,
}

pub fn resolve(symbols: &Symbols) -> Ranges {
    let mut ranges = [CallerRange::NONE; CALLER_RANGES];
    let mut room = ranges.iter_mut();
    let (mut blind_spots, mut undecided) = (Vec::new(), Vec::new());
    for row in CALLERS {
        let mut found = 0;
        for symbol in row.functions.iter().flat_map(|name| symbols.text_of(name)) {
            found += 1;
            match room.next() {
                Some(range) => {
                    *range = CallerRange { start: symbol.start, end: symbol.end, caller: row.caller as u64 };
                }
                None => blind_spots.push(format!("no room for the symbol {}: {}", symbol.name, row.without)),
            }
        }
        if found == 0 {
            let names = row.functions.join(", ");
            if matches!(row.caller, Caller::Firing | Caller::Rearming) {
                undecided.push(format!("the kernel has none of the functions {names}: {}", row.without));
                continue;
            }
            blind_spots.push(format!("none of {names} in /proc/kallsyms: {}", row.without));
        }
    }
    Ranges { ranges, blind_spots, undecided }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::kallsyms::Symbol;

    fn symbols(names: &[&str]) -> Symbols {
        let at = |index: usize| 0x1000 * (index as u64 + 1);
        Symbols::from_symbols(
            names
                .iter()
                .enumerate()
                .map(|(i, name)| Symbol {
                    name: (*name).to_owned(),
                    start: at(i),
                    end: at(i) + 0x100,
                    in_module: false,
                })
                .collect(),
        )
    }

    #[test]
    fn variants_count_for_their_function() {
        let found = resolve(&symbols(&["__run_timers.part.0", "__mod_timer", "tcp_abort"]));
        assert_eq!(
            found.ranges[0],
            CallerRange { start: 0x1000, end: 0x1100, caller: Caller::Firing as u64 }
        );
        assert_eq!(found.ranges[1].caller, Caller::Rearming as u64);
        assert_eq!(found.ranges[2].caller, Caller::Abort as u64);
        assert_eq!(found.blind_spots.len(), 5, "{:?}", found.blind_spots);
        assert_eq!(found.undecided, [""; 0]);
    }

    #[test]
    fn without_the_wheel_nothing_can_be_told() {
        let undecided = resolve(&symbols(&["mod_timer"])).undecided.join("; ");
        assert!(undecided.contains("run_timer_softirq") && undecided.contains("expiries"), "{undecided}");
    }

    #[test]
    fn every_caller_fits_with_room_for_variants() {
        let functions: usize = CALLERS.iter().map(|row| row.functions.len()).sum();
        assert!(functions + 3 <= CALLER_RANGES, "{functions}");
    }
}

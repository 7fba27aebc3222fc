//! Everything that can be lost, refused or missed on the kernel side: one per-CPU counter each.

use crate::event::Kind;

/// Declares the counters: index into the `COUNTERS` map, JSON key, whether it is a loss, and what it means.
macro_rules! counters {
    ($($variant:ident = $value:literal => $name:literal, $kind:ident, $meaning:literal;)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Counter { $(#[doc = $meaning] $variant = $value,)+ }

        impl Counter {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The key in `lost_by` (losses) or `notes` (the rest).
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            pub const fn kind(self) -> CounterKind {
                match self { $(Self::$variant => CounterKind::$kind,)+ }
            }

            /// What happened, for people.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }
        }
    };
}

/// What a counter's figure says about the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterKind {
    /// Records handed to the ring buffer: made = delivered + lost.
    Made,
    /// One record that was made and did not reach user space.
    LostRecord,
    /// One time-wait socket whose end cannot be told.
    LostSocket,
    /// Nothing is lost, but some detail of a record is missing.
    Note,
}

counters! {
    MadeState = 0 => "made_state", Made, "state records made";
    MadeTwEnter = 1 => "made_tw_enter", Made, "tw_enter records made";
    MadeTwRearm = 2 => "made_tw_rearm", Made, "tw_rearm records made";
    MadeTwExit = 3 => "made_tw_exit", Made, "tw_exit records made";
    MadeTwOverflow = 4 => "made_tw_overflow", Made, "tw_overflow records made";
    RingState = 5 => "ring_full_state", LostRecord, "state records lost: the ring buffer was full";
    RingTwEnter = 6 => "ring_full_tw_enter", LostRecord, "tw_enter records lost: the ring buffer was full";
    RingTwRearm = 7 => "ring_full_tw_rearm", LostRecord, "tw_rearm records lost: the ring buffer was full";
    RingTwExit = 8 => "ring_full_tw_exit", LostRecord, "tw_exit records lost: the ring buffer was full";
    RingTwOverflow = 9 => "ring_full_tw_overflow", LostRecord, "tw_overflow records lost: the ring buffer was full";
    TwMapFull = 10 => "tw_map_full", LostSocket, "time-wait sockets not followed: their map was full";
    SeedMapFull = 11 => "seed_map_full", LostSocket, "time-wait sockets of before the start not followed: their map was full";
    ExitMissed = 12 => "exit_missed", LostSocket, "time-wait sockets that are gone, and no event told of their end";
    UnknownSocket = 13 => "unknown_socket", Note, "ends and re-arms of time-wait sockets that were not being followed";
    SocketMapFull = 14 => "socket_map_full", Note, "sockets without dwell time or owner: their map was full";
    NetnsMapFull = 15 => "netns_map_full", Note, "events counted under no network namespace: their map was full";
    StackMissing = 16 => "stack_missing", Note, "time-wait timers taken off the wheel for an unknown reason: the kernel gave no stack";
    HiddenRearm = 17 => "rearm_in_slot", Note, "re-arms into the same wheel slot: the kernel fires no timer event for them, told at the exit";
    EndedBeforeSeed = 18 => "ended_before_seed", Note, "time-wait sockets that ended before they could be seeded";
    Recursion = 19 => "recursion", LostRecord, "events lost: the kernel does not run a program inside itself";
    States = 20 => "states", Made, "state changes of the sockets that the filters select";
    AllocationMapFull = 21 => "allocation_map_full", Note, "calls of inet_twsk_alloc whose result was not looked at: their map was full";
    WheelSlotMissing = 22 => "wheel_slot_missing", Note, "timers in no known bucket of the wheel";
    Undated = 23 => "undated", Made, "time-wait sockets in no distribution of times: when TIME_WAIT began was not seen";
    EndedInFinWait2 = 24 => "ended_in_fin_wait2", Made, "time-wait sockets that ended before TIME_WAIT began";
    KeyMapFull = 25 => "key_map_full", Note, "time-wait sockets under no key: the map of keys was full";
    Nested = 26 => "nested", Note, "state changes that interrupted the program for another change on their CPU: a second program told them";
    LengthVaries = 27 => "timewait_length_varies", Note, "TIME_WAIT was found to have more than one length: what was armed unseen is not dated from then on";
    Dccp = 28 => "dccp", Note, "times that timers of DCCP's time-wait sockets were armed or ended: passed over";
}

/// The counters of the records of this kind that were made, and of those that found no room.
pub const fn of_kind(kind: Kind) -> (Counter, Counter) {
    match kind {
        Kind::State => (Counter::MadeState, Counter::RingState),
        Kind::TwEnter => (Counter::MadeTwEnter, Counter::RingTwEnter),
        Kind::TwRearm => (Counter::MadeTwRearm, Counter::RingTwRearm),
        Kind::TwExit => (Counter::MadeTwExit, Counter::RingTwExit),
        Kind::TwOverflow => (Counter::MadeTwOverflow, Counter::RingTwOverflow),
    }
}

/// How many counters there are: the size of the `COUNTERS` map.
pub const COUNT: u32 = Counter::ALL.len() as u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_dense_and_named_once() {
        for (index, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, index);
            assert!(Counter::ALL[..index].iter().all(|earlier| earlier.name() != counter.name()));
        }
    }
}

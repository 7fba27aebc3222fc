//! Made-up records, shared by the unit tests and the tests of the outputs.

use tw_trace_common::event::{
    AF_INET, AF_INET6, Conn, Head, Kind, NONE_NS, Owner, State, TwEnter, TwExit, TwOverflow, TwRearm, Wheel,
};
use tw_trace_common::state::{Entered, ExitReason, RearmCause, Substate, TcpState};

use super::decode::Record;

/// HZ=250.
pub(crate) const TICK_NS: u64 = 4_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;
/// CLOCK_MONOTONIC at the start of the made-up runs.
pub(crate) const START: u64 = 1_000 * SECOND;

fn head(kind: Kind, mono_ns: u64) -> Head {
    Head { mono_ns, cpu: 1, kind: kind as u8, spare: 0, spare2: 0 }
}

pub(crate) fn conn() -> Conn {
    let mut conn = Conn {
        cookie: 77,
        lport: 40_000,
        rport: 8080,
        family: AF_INET,
        netns: 4_026_531_840,
        ..Conn::default()
    };
    conn.laddr[..4].copy_from_slice(&[192, 0, 2, 1]);
    conn.raddr[..4].copy_from_slice(&[198, 51, 100, 20]);
    conn
}

pub(crate) fn conn6() -> Conn {
    let mut conn = Conn { family: AF_INET6, ..conn() };
    conn.laddr = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    conn.raddr = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7];
    conn
}

pub(crate) fn owner() -> Owner {
    Owner { cgroup: 42, pid: 1234, spare: 0, comm: *b"client\0\0\0\0\0\0\0\0\0\0" }
}

/// 60 s at HZ=250 on level 3: asked for jiffy 20,000, due at 20,480.
pub(crate) fn wheel() -> Wheel {
    Wheel { expires: 20_000, bucket: 20_480, cpu: 1, level: 3, slot: 40, spare: 0 }
}

pub(crate) fn state() -> State {
    State {
        head: head(Kind::State, START + SECOND),
        conn: conn(),
        owner: owner(),
        dwell_ns: 12_345_678,
        old: TcpState::Established as u8,
        new: TcpState::FinWait1 as u8,
        spare: 0,
        spare2: 0,
    }
}

pub(crate) fn enter() -> TwEnter {
    TwEnter {
        head: head(Kind::TwEnter, START + 2 * SECOND),
        conn: conn(),
        owner: owner(),
        wheel: wheel(),
        timeout_jiffies: 15_000,
        substate: Substate::TimeWait as u8,
        entered: Entered::Exact as u8,
        spare: 0,
        spare2: 0,
    }
}

pub(crate) fn rearm() -> TwRearm {
    TwRearm {
        head: head(Kind::TwRearm, START + 3 * SECOND),
        conn: conn(),
        owner: owner(),
        wheel: wheel(),
        elapsed_ns: SECOND,
        timeout_jiffies: 15_000,
        substate: Substate::TimeWait as u8,
        cause: RearmCause::LateSegment as u8,
        spare: 0,
        spare2: 0,
    }
}

/// An expiry: 60 s, 1.92 s of rounding, 3 ms late.
pub(crate) fn exit() -> TwExit {
    let duration_ns = 61_923 * 1_000_000;
    TwExit {
        head: head(Kind::TwExit, START + 2 * SECOND + duration_ns),
        conn: conn(),
        owner: owner(),
        wheel: wheel(),
        duration_ns,
        fin_wait2_ns: 0,
        since_arming_ns: duration_ns,
        lateness_ns: 3_000_000,
        timeout_jiffies: 15_000,
        rearms: 0,
        reason: ExitReason::Expired as u8,
        substate: Substate::TimeWait as u8,
        entered: Entered::Exact as u8,
        flags: 0,
    }
}

/// An end before the timer fired.
pub(crate) fn early_exit(reason: ExitReason, duration_ns: u64) -> TwExit {
    TwExit {
        reason: reason as u8,
        duration_ns,
        since_arming_ns: duration_ns,
        lateness_ns: NONE_NS,
        head: head(Kind::TwExit, START + 2 * SECOND + duration_ns),
        ..exit()
    }
}

pub(crate) fn overflow() -> TwOverflow {
    TwOverflow {
        head: head(Kind::TwOverflow, START + 4 * SECOND),
        conn: conn(),
        owner: owner(),
        limit: 65_536,
    }
}

pub(crate) fn one_of_each() -> [Record; 5] {
    [
        Record::State(state()),
        Record::TwEnter(enter()),
        Record::TwRearm(rearm()),
        Record::TwExit(exit()),
        Record::TwOverflow(overflow()),
    ]
}

/// The record as the kernel side would have written it.
pub(crate) fn bytes(record: &Record) -> Vec<u8> {
    fn raw<T>(value: &T) -> Vec<u8> {
        // SAFETY: the wire types are repr(C) without padding, which event.rs checks at compile time.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast::<u8>(), size_of::<T>()) }.to_vec()
    }
    match record {
        Record::State(r) => raw(r),
        Record::TwEnter(r) => raw(r),
        Record::TwRearm(r) => raw(r),
        Record::TwExit(r) => raw(r),
        Record::TwOverflow(r) => raw(r),
    }
}

/// A xorshift generator: random enough for tests, the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) const fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

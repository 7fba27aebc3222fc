//! What each TCP setting really does to TIME_WAIT on this kernel, in plain sentences.

use crate::kernel::facts::Told;
use crate::kernel::netns::{Counters, Sysctls};
use crate::kernel::tick::Tick;
use crate::wheel::modern::{Wheel, granularity_ns};

/// One setting, its value, and its effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) effect: String,
}

/// How the timer wheel rounds a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rounding {
    pub(super) level: u8,
    pub(super) granularity_ns: u64,
}

impl Rounding {
    /// For a timer this far ahead.
    pub(super) fn of(seconds: u64, tick: Tick) -> Self {
        let level = Wheel::new(tick.hz).level(seconds * u64::from(tick.hz));
        Self { level, granularity_ns: granularity_ns(tick.ns, level) }
    }
}

/// The example that the sentences use; the true timeout is read from each timer.
pub(super) const EXAMPLE_SECONDS: u64 = 60;

/// What the wheel makes of a timer on this kernel.
pub(super) fn wheel(tick: Tick) -> String {
    let rounding = Rounding::of(EXAMPLE_SECONDS, tick);
    let granularity = rounding.granularity_ns as f64 / 1e9;
    format!(
        "a {EXAMPLE_SECONDS} s timer goes to level {}, whose slots fire every {granularity:.3} s, always late: \
         it lasts {EXAMPLE_SECONDS}.0\u{2013}{:.2} s, and all that were armed within one slot on one CPU fire together",
        rounding.level,
        EXAMPLE_SECONDS as f64 + granularity
    )
}

/// Sentences on the settings that this kernel has, in a fixed order.
pub(super) fn all(sysctls: &Sysctls, counters: &Told<Counters>) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut add = |name, effect: &dyn Fn(&str) -> String| {
        if let Some(value) = sysctls.0.get(name) {
            settings.push(Setting { name, value: value.clone(), effect: effect(value) });
        }
    };
    add("tcp_fin_timeout", &|value| {
        format!(
            "never changes TIME_WAIT, whatever tuning guides say: it bounds FIN_WAIT2 after close() \
             ({value} s, or 3.5 retransmission timeouts if longer)"
        )
    });
    add("tcp_tw_timeout", &|value| {
        format!("of this vendor's kernel: sets how long TIME_WAIT is asked to last ({value})")
    });
    add("tcp_tw_reuse", &|value| reuse(value, sysctls));
    add("tcp_tw_reuse_delay", &|value| {
        format!(
            "connect() may take over a TIME_WAIT port {value} ms after its last timestamp at the earliest"
        )
    });
    add("tcp_max_tw_buckets", &|value| max_buckets(value, counters));
    add("tcp_rfc1337", &|value| match value {
        "0" => "an RST from the peer ends TIME_WAIT at once (reason rst)".to_owned(),
        _ => "an RST from the peer is ignored in TIME_WAIT; in FIN_WAIT2 it still ends the socket".to_owned(),
    });
    add("tcp_timestamps", &|value| match value {
        "0" => {
            "without timestamps no TIME_WAIT port is ever taken over by connect(), whatever tcp_tw_reuse says"
                .to_owned()
        }
        _ => "connections with timestamps can be taken over by connect() as tcp_tw_reuse says".to_owned(),
    });
    add("ip_local_port_range", &|_| ports(sysctls));
    settings
}

/// `tcp_twsk_unique` (net/ipv4/tcp_ipv4.c, 4.19 – 7.3).
fn reuse(value: &str, sysctls: &Sysctls) -> String {
    let who = match value {
        "0" => return "connect() never takes over a port in TIME_WAIT".to_owned(),
        "1" => "connect() may take over a port in TIME_WAIT, to any destination",
        "2" => {
            "connect() may take over a port in TIME_WAIT on loopback only: to other hosts it changes nothing"
        }
        _ => return "a value that tw-trace does not know".to_owned(),
    };
    let after =
        if sysctls.0.contains_key("tcp_tw_reuse_delay") { "tcp_tw_reuse_delay" } else { "one second" };
    format!("{who}; both ends need timestamps, and {after} must have passed")
}

/// `inet_twsk_alloc`: the limit is of the namespace, and what is over it gets no TIME_WAIT at all.
fn max_buckets(value: &str, counters: &Told<Counters>) -> String {
    let now = match counters {
        Ok(counters) => {
            let skipped = match counters.tcp_ext.get("TCPTimeWaitOverflow") {
                Some(count) => format!("{count} have skipped it so far"),
                None => "the kernel does not count those that skipped it".to_owned(),
            };
            format!("now {} of {value}; {skipped}", counters.tw)
        }
        Err(untold) => format!("the number now is {untold}"),
    };
    format!("connections beyond it skip TIME_WAIT and are closed at once ({now})")
}

fn ports(sysctls: &Sysctls) -> String {
    match sysctls.port_range() {
        Some((first, last)) if first <= last => format!(
            "{} ports for outgoing connections per source and destination; those in TIME_WAIT count unless \
             tcp_tw_reuse lets connect() take them",
            u32::from(last) - u32::from(first) + 1
        ),
        Some(_) | None => "not a range that tw-trace can read".to_owned(),
    }
}

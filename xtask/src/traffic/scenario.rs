//! The table of scenarios: what each provokes, and what the kernel and a tracer must count for it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::counters::Counters;
use super::expect::{Expect, FIN_WAIT2_ONLY, NO_TIME_WAIT, ONE, VIA_FIN_WAIT2};
use super::mirror::Family::{V4, V6};
use super::{closing, early, fin_wait2, rearm};

/// One way to use and end connections.
#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// The port that is listened on: every connection of the scenario has it at one end.
    pub port: u16,
    pub about: &'static str,
    pub expect: Expect,
    run: fn(port: u16, count: u32) -> Result<Seen>,
}

/// What a run can tell beyond its expectations.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Sockets that TCP_INFO showed in CLOSING.
    pub(super) closing: u32,
}

macro_rules! scenario {
    ($name:literal, $port:literal, $about:literal, $expect:expr, $run:expr) => {
        Scenario { name: $name, port: $port, about: $about, expect: $expect, run: $run }
    };
}

/// All of them. Ports lie below the ephemeral range that [`crate::netns::enter_new`] sets.
pub static SCENARIOS: &[Scenario] = &[
    scenario!("client_first", 8001, "the client closes first", ONE, closing::client_first),
    scenario!("server_first", 8002, "the server closes first", ONE, closing::server_first),
    scenario!(
        "both_at_once",
        8003,
        "both close at once: their FINs cross",
        Expect { began: 2, time_wait: 2, ..ONE },
        |port, n| closing::both_at_once(V4, port, n)
    ),
    scenario!(
        "both_at_once6",
        8004,
        "both close at once, IPv6",
        Expect { began: 2, time_wait: 2, ..ONE },
        |port, n| closing::both_at_once(V6, port, n)
    ),
    scenario!(
        "linger0",
        8005,
        "the client closes with SO_LINGER 0: an RST, no TIME_WAIT",
        NO_TIME_WAIT,
        closing::linger0
    ),
    scenario!("ipv6", 8006, "the client closes first, IPv6", ONE, closing::ipv6),
    scenario!(
        "v4_mapped",
        8007,
        "the client closes first, IPv4 through IPv6 sockets",
        ONE,
        closing::v4_mapped
    ),
    scenario!(
        "overflow",
        8008,
        "the client closes first with tcp_max_tw_buckets at 0",
        Expect { overflow: 1, ..NO_TIME_WAIT },
        closing::overflow
    ),
    scenario!(
        "half_close",
        8009,
        "the client shuts down, the server closes 100 ms later",
        ONE,
        fin_wait2::half_close
    ),
    scenario!(
        "fin_wait2_then_fin",
        8010,
        "the client closes, the server only 5.3 s later",
        VIA_FIN_WAIT2,
        fin_wait2::then_fin
    ),
    scenario!(
        "fin_wait2_expires",
        8011,
        "the client closes, the server never; tcp_fin_timeout is 2 s",
        Expect { ended: Some((1, "expired")), ..FIN_WAIT2_ONLY },
        fin_wait2::expires
    ),
    scenario!(
        "fin_wait2_data",
        8012,
        "the client closes, then the server sends data",
        Expect { ended: Some((1, "reset_sent")), ..FIN_WAIT2_ONLY },
        fin_wait2::data
    ),
    scenario!(
        "fin_wait2_rst",
        8013,
        "the client closes, then the server resets",
        Expect { ended: Some((1, "rst")), ..FIN_WAIT2_ONLY },
        fin_wait2::reset
    ),
    scenario!(
        "reused",
        8014,
        "the client takes its old port again with connect()",
        Expect { connections: 2, began: 2, time_wait: 2, recycled: 1, ended: Some((1, "reused")), ..ONE },
        |port, n| early::reused(V4, port, n)
    ),
    scenario!(
        "reused6",
        8015,
        "the client takes its old port again with connect(), IPv6",
        Expect { connections: 2, began: 2, time_wait: 2, recycled: 1, ended: Some((1, "reused")), ..ONE },
        |port, n| early::reused(V6, port, n)
    ),
    scenario!(
        "new_syn",
        8016,
        "the server closes first, the client comes again from its old port",
        Expect { connections: 2, began: 2, time_wait: 2, ended: Some((1, "new_syn")), ..ONE },
        |port, n| early::new_syn(V4, port, n)
    ),
    scenario!(
        "new_syn6",
        8017,
        "the server closes first, the client comes again from its old port, IPv6",
        Expect { connections: 2, began: 2, time_wait: 2, ended: Some((1, "new_syn")), ..ONE },
        |port, n| early::new_syn(V6, port, n)
    ),
    scenario!(
        "rst",
        8018,
        "an RST of the peer reaches TIME_WAIT",
        Expect { ended: Some((1, "rst")), ..ONE },
        |port, n| early::rst(V4, port, n)
    ),
    scenario!(
        "rst6",
        8019,
        "an RST of the peer reaches TIME_WAIT, IPv6",
        Expect { ended: Some((1, "rst")), ..ONE },
        |port, n| early::rst(V6, port, n)
    ),
    scenario!(
        "killed",
        8020,
        "SOCK_DESTROY, as ss -K sends it",
        Expect { ended: Some((1, "killed")), ..ONE },
        |port, n| early::killed(V4, port, n)
    ),
    scenario!(
        "killed6",
        8021,
        "SOCK_DESTROY, as ss -K sends it, IPv6",
        Expect { ended: Some((1, "killed")), ..ONE },
        |port, n| early::killed(V6, port, n)
    ),
    scenario!(
        "rearm_late_segment",
        8022,
        "the server's FIN comes again",
        Expect { rearm: Some("late_segment"), ..ONE },
        rearm::late_segment
    ),
    scenario!(
        "rearm_ack",
        8023,
        "a bare ACK inside the window comes late",
        Expect { rearm: Some("ack"), ..ONE },
        rearm::ack
    ),
    scenario!(
        "rearm_paws",
        8024,
        "a segment with an old timestamp comes late",
        Expect { rearm: Some("paws"), ..ONE },
        rearm::paws
    ),
    scenario!(
        "client_first_slowly",
        8025,
        "the client closes first, one every 120 ms",
        ONE,
        closing::client_first_slowly
    ),
    scenario!(
        "fin_wait2_then_fin_soon",
        8026,
        "the client closes, the server only 600 ms later",
        VIA_FIN_WAIT2,
        fin_wait2::then_fin_soon
    ),
];

/// The scenario of this name.
pub fn find(name: &str) -> Result<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name).with_context(|| {
        let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        format!("there is no scenario {name}; there are {}", names.join(", "))
    })
}

impl Scenario {
    /// Runs it `count` times in the calling thread's namespace and holds the kernel's counters against it.
    pub fn run(&self, count: u32) -> Result<Value> {
        let before = Counters::read()?;
        let seen = (self.run)(self.port, count).with_context(|| format!("scenario {}", self.name))?;
        let counted = self.settled(&before, count)?;
        Ok(json!({
            "scenario": self.name,
            "count": count,
            "connections": self.expect.connections * count,
            "began": self.expect.began * count,
            "closing": seen.closing,
            "tcpext": counted.to_json(),
        }))
    }

    /// The counters' growth once it is what this scenario expects; the last ACKs may still be on their way.
    fn settled(&self, before: &Counters, count: u32) -> Result<Counters> {
        let deadline = Instant::now() + Duration::from_secs(3);
        let wanted = [self.expect.began, self.expect.overflow, self.expect.recycled];
        let wanted = wanted.map(|each| u64::from(each) * u64::from(count));
        loop {
            let counted = Counters::read()?.since(before);
            let got = [counted.began(), counted.overflow, counted.tw_recycled];
            if got == wanted {
                return Ok(counted);
            }
            if Instant::now() > deadline {
                bail!(
                    "scenario {}: the kernel counts [begun, overflowed, recycled] {got:?}, not {wanted:?}",
                    self.name
                );
            }
            sleep(Duration::from_millis(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ports_are_unique_and_below_the_ephemeral_range() {
        for (index, scenario) in SCENARIOS.iter().enumerate() {
            assert!(scenario.port < 10_000, "{}", scenario.name);
            assert!(
                SCENARIOS[..index]
                    .iter()
                    .all(|other| other.name != scenario.name && other.port != scenario.port)
            );
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = find("nonsense").unwrap_err().to_string();
        assert!(message.contains("client_first") && message.contains("rearm_paws"));
    }
}

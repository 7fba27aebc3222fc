//! What the command line's filters mean: the addresses they name, and what the kernel side is handed.

use std::{
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use tw_trace_common::{
    config::{Endpoint, Filter, filter_bits as bit},
    event::{AF_INET, AF_INET6, Kind},
    state::TcpState,
};

use crate::{
    cli::{Family, FilterArgs},
    kernel::snapshots::NetnsId,
};

/// `ADDR[/LEN][:PORT]`; an address without a prefix length is one host, no address at all is every host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub addr: Option<(IpAddr, u8)>,
    pub port: Option<u16>,
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (addr, port) = split_port(text)?;
        let port = port.map(parse_port).transpose()?;
        let addr = if addr.is_empty() { None } else { Some(parse_prefix(addr)?) };
        if addr.is_none() && port.is_none() {
            return Err("it names neither an address nor a port".to_owned());
        }
        Ok(Self { addr, port })
    }
}

/// Tells the port from the address; a bare IPv6 address has colons of its own.
fn split_port(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (addr, rest) = rest.split_once(']').ok_or("the closing ] is missing")?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((addr, Some(port))),
            None if rest.is_empty() => Ok((addr, None)),
            None => Err(format!("behind ] only :PORT can stand, not {rest}")),
        };
    }
    // Behind a prefix length a colon can only be the port's.
    let after = text.find('/').unwrap_or(0);
    let colons = text[after..].matches(':').count();
    if colons == 1
        && let Some((addr, port)) = text.rsplit_once(':')
    {
        return Ok((addr, Some(port)));
    }
    Ok((text, None))
}

fn parse_port(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(0) | Err(_) => Err(format!("{text} is not a port (1 – 65535)")),
        Ok(port) => Ok(port),
    }
}

fn parse_prefix(text: &str) -> Result<(IpAddr, u8), String> {
    let (addr, len) = text.split_once('/').map_or((text, None), |(addr, len)| (addr, Some(len)));
    let addr: IpAddr = addr.parse().map_err(|_| format!("{addr} is not an IPv4 or IPv6 address"))?;
    let longest = if addr.is_ipv4() { 32 } else { 128 };
    match len.map(str::parse::<u8>) {
        None => Ok((addr, longest)),
        Some(Ok(len)) if len <= longest => Ok((addr, len)),
        Some(_) => Err(format!("the prefix length of {text} must be a number from 0 to {longest}")),
    }
}

impl End {
    /// As the kernel side compares it: IPv4 as v4-mapped IPv6, so that it finds v4-mapped sockets too.
    fn endpoint(self) -> Endpoint {
        let (addr, len) = match self.addr {
            None => (Ipv6Addr::UNSPECIFIED, 0),
            Some((IpAddr::V4(addr), len)) => (addr.to_ipv6_mapped(), 96 + u32::from(len)),
            Some((IpAddr::V6(addr), len)) => (addr, u32::from(len)),
        };
        let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0);
        let addr = u128::from(addr) & mask;
        Endpoint {
            addr: addr.to_be_bytes(),
            mask: mask.to_be_bytes(),
            port: self.port.unwrap_or(0),
            family: if self.is_v6() { AF_INET6 } else { 0 },
            spare: [0; 2],
        }
    }

    fn is_v6(self) -> bool {
        matches!(self.addr, Some((IpAddr::V6(addr), _)) if addr.to_ipv4_mapped().is_none())
    }
}

/// The filters with everything looked up that has to be: inode of the namespace, id of the cgroup.
pub struct Resolved {
    pub filter: Filter,
    /// As given, for the header.
    pub given: Vec<String>,
}

/// Puts together what the kernel side is handed. `netns` and `cgroup` are the looked-up numbers.
pub fn resolve(args: &FilterArgs, netns: Option<NetnsId>, cgroup: Option<u64>) -> Result<Resolved, String> {
    check_family(args)?;
    let mut filter = Filter::NONE;
    let mut given = Vec::new();
    let mut set = |bit: u32, text: Option<String>| {
        if let Some(text) = text {
            filter.active |= bit;
            given.push(text);
        }
    };
    set(bit::PID, args.pid.map(|pid| format!("pid {pid}")));
    set(bit::COMM, args.comm.as_ref().map(|comm| format!("comm {comm}")));
    set(bit::CGROUP, args.cgroup.as_ref().map(|cgroup| format!("cgroup {cgroup}")));
    set(bit::NETNS, args.netns.as_ref().map(|netns| format!("netns {netns}")));
    set(bit::LOCAL, args.local.map(|end| format!("local {}", show(end))));
    set(bit::REMOTE, args.remote.map(|end| format!("remote {}", show(end))));
    set(bit::PORT, args.port.map(|port| format!("port {port}")));
    set(
        bit::FAMILY,
        args.family.map(|family| format!("family {}", if family == Family::V4 { 4 } else { 6 })),
    );
    set(bit::STATE, list("state", args.state.iter().map(|state| state.name())));
    set(bit::REASON, list("reason", args.reason.iter().map(|reason| reason.name())));
    filter.pid = args.pid.unwrap_or(0);
    if let Some(comm) = &args.comm {
        filter.comm[..comm.len()].copy_from_slice(comm.as_bytes());
    }
    filter.cgroup = cgroup.unwrap_or(0);
    filter.netns = netns.map_or(0, |netns| netns.inode);
    filter.net_cookie = netns.and_then(|netns| netns.cookie).unwrap_or(0);
    filter.local = args.local.map_or(Endpoint::ANY, End::endpoint);
    filter.remote = args.remote.map_or(Endpoint::ANY, End::endpoint);
    filter.port = args.port.unwrap_or(0);
    filter.family = match args.family {
        None => 0,
        Some(Family::V4) => AF_INET,
        Some(Family::V6) => AF_INET6,
    };
    filter.states = args.state.iter().fold(0, |mask, state| mask | state.bit());
    filter.reasons = args.reason.iter().fold(0, |mask, reason| mask | reason.bit());
    Ok(Resolved { filter, given })
}

fn check_family(args: &FilterArgs) -> Result<(), String> {
    for (name, end) in [("--local", args.local), ("--remote", args.remote)] {
        if args.family == Some(Family::V4) && end.is_some_and(End::is_v6) {
            return Err(format!(
                "--family 4 and the IPv6 address of {name} together match nothing; drop one of them"
            ));
        }
    }
    Ok(())
}

fn list(name: &str, values: impl Iterator<Item = &'static str>) -> Option<String> {
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then(|| format!("{name} {}", values.join(",")))
}

fn show(end: End) -> String {
    let addr = end.addr.map_or(String::new(), |(addr, len)| format!("[{addr}/{len}]"));
    let port = end.port.map_or(String::new(), |port| format!(":{port}"));
    addr + &port
}

/// The kinds of event that a run tells: those asked for, as far as the filters on states and reasons let any pass.
pub fn kinds(events: &[Kind], args: &FilterArgs) -> Result<Vec<Kind>, String> {
    let asked = if events.is_empty() { Kind::ALL } else { events };
    let time_wait_states = [TcpState::TimeWait, TcpState::FinWait2];
    let kinds: Vec<_> = asked
        .iter()
        .copied()
        .filter(|kind| {
            let by_state = args.state.is_empty()
                || *kind == Kind::State
                || args.state.iter().any(|state| time_wait_states.contains(state));
            let by_reason = args.reason.is_empty() || *kind == Kind::TwExit;
            by_state && by_reason
        })
        .collect();
    if kinds.is_empty() {
        return Err(
            "these --events, --state and --reason together match nothing: --reason goes with tw_exit, --state with \
             state events, TIME_WAIT and FIN_WAIT2 also with time-wait events"
                .to_owned(),
        );
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use tw_trace_common::state::ExitReason;

    use super::*;

    type Parts = (Option<(String, u8)>, Option<u16>);

    fn end(text: &str) -> Result<Parts, String> {
        text.parse::<End>().map(|end| (end.addr.map(|(addr, len)| (addr.to_string(), len)), end.port))
    }

    #[test]
    fn ends_are_read_in_every_spelling() {
        let host = |addr: &str, len| Some((addr.to_owned(), len));
        assert_eq!(end("10.0.0.1"), Ok((host("10.0.0.1", 32), None)));
        assert_eq!(end("10.0.0.0/8"), Ok((host("10.0.0.0", 8), None)));
        assert_eq!(end("10.0.0.0/8:443"), Ok((host("10.0.0.0", 8), Some(443))));
        assert_eq!(end("10.0.0.1:443"), Ok((host("10.0.0.1", 32), Some(443))));
        assert_eq!(end(":443"), Ok((None, Some(443))));
        assert_eq!(end("::1"), Ok((host("::1", 128), None)));
        assert_eq!(end("[::1]:80"), Ok((host("::1", 128), Some(80))));
        assert_eq!(end("2001:db8::/32"), Ok((host("2001:db8::", 32), None)));
        assert_eq!(end("2001:db8::/32:80"), Ok((host("2001:db8::", 32), Some(80))));
        assert_eq!(end("[2001:db8::/32]:80"), Ok((host("2001:db8::", 32), Some(80))));
    }

    #[test]
    fn bad_ends_are_refused_by_name() {
        for (text, part) in [
            ("10.0.0.0/33", "from 0 to 32"),
            ("10.0.0.0/x", "from 0 to 32"),
            ("::/129", "from 0 to 128"),
            ("10.0.0", "not an IPv4"),
            ("10.0.0.1:70000", "70000 is not a port"),
            ("10.0.0.1:0", "0 is not a port"),
            ("[::1", "closing ]"),
            ("[::1]80", "only :PORT"),
            ("", "neither"),
            ("host.example", "not an IPv4"),
        ] {
            let error = end(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn endpoints_compare_both_families_alike() {
        let endpoint = "127.0.0.0/8:80".parse::<End>().unwrap().endpoint();
        assert_eq!(endpoint.addr, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 0]);
        assert_eq!(endpoint.mask[11..], [0xff, 0xff, 0, 0, 0]);
        assert_eq!(endpoint.port, 80);
        assert_eq!(":80".parse::<End>().unwrap().endpoint().mask, [0; 16]);
        // Bits behind the prefix do not count.
        assert_eq!(
            "10.1.2.3/8".parse::<End>().unwrap().endpoint(),
            "10.0.0.0/8".parse::<End>().unwrap().endpoint()
        );
    }

    #[test]
    fn filters_that_exclude_each_other_are_refused() {
        let reason = FilterArgs { reason: vec![ExitReason::Rst], ..FilterArgs::default() };
        assert_eq!(kinds(&[], &reason), Ok(vec![Kind::TwExit]));
        assert!(kinds(&[Kind::State], &reason).is_err());
        let state = FilterArgs { state: vec![TcpState::Established], ..FilterArgs::default() };
        assert_eq!(kinds(&[], &state), Ok(vec![Kind::State]));
        let state = FilterArgs { state: vec![TcpState::TimeWait], ..FilterArgs::default() };
        assert_eq!(kinds(&[Kind::TwExit], &state), Ok(vec![Kind::TwExit]));
        let family =
            FilterArgs { family: Some(Family::V4), local: "::1".parse().ok(), ..FilterArgs::default() };
        assert!(resolve(&family, None, None).is_err());
    }
}

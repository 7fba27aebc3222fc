//! Keys by name: for people, and as JSON.

use serde_json::{Map, Value, json};
use tw_trace_common::{
    event::{AF_INET, Owner},
    keys::{By, Key},
    state::ExitReason,
};

use crate::{
    escape,
    sink::{
        CgroupNames,
        fmt::{Address, Scoped, comm_bytes, push_owner},
    },
};

/// What a distribution is of, where it is told by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Key(By, Key),
    Reason(ExitReason),
}

impl Name {
    pub(super) fn text(self, cgroups: &mut dyn CgroupNames) -> String {
        let mut text = Vec::new();
        match self {
            Self::Reason(reason) => return reason.name().to_owned(),
            Self::Key(By::Cgroup, Key([0, ..])) => return "-".to_owned(),
            Self::Key(By::Cgroup, Key([id, ..])) => {
                return cgroups.path(id).map_or_else(|| format!("cgroup {id}, gone"), escape::plain);
            }
            Self::Key(By::LocalPort, Key([port, ..])) => return port.to_string(),
            Self::Key(By::Process, key) => push_owner(&mut text, &owner(key)),
            Self::Key(By::Remote, key) => {
                let Remote { addr, ifindex, port, family } = remote(key);
                let scoped = Scoped { family, addr: &addr, ifindex };
                scoped.push_endpoint(&mut text, &mut Address::default(), port);
            }
            Self::Key(By::RemoteAddress, key) => {
                let Remote { addr, ifindex, family, .. } = remote(key);
                Scoped { family, addr: &addr, ifindex }.push(&mut text, &mut Address::default());
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Named as in the events.
    pub(super) fn json(self, cgroups: &mut dyn CgroupNames) -> Map<String, Value> {
        let keys = match self {
            Self::Reason(reason) => vec![("reason", json!(reason.name()))],
            Self::Key(By::Cgroup, Key([id, ..])) => {
                vec![("cgroup", json!(cgroups.path(id))), ("cgroup_id", json!(id))]
            }
            Self::Key(By::LocalPort, Key([port, ..])) => vec![("lport", json!(port))],
            Self::Key(By::Process, key) => {
                let owner = owner(key);
                let comm = String::from_utf8_lossy(comm_bytes(&owner.comm)).into_owned();
                vec![
                    ("pid", if owner.pid == 0 { Value::Null } else { json!(owner.pid) }),
                    ("comm", if comm.is_empty() { Value::Null } else { json!(comm) }),
                ]
            }
            Self::Key(By::Remote, key) => {
                let mut keys = address(key);
                keys.push(("rport", json!(remote(key).port)));
                keys
            }
            Self::Key(By::RemoteAddress, key) => address(key),
        };
        keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

fn address(key: Key) -> Vec<(&'static str, Value)> {
    let Remote { addr, ifindex, family, .. } = remote(key);
    let mut text = Vec::new();
    Address::default().push(&mut text, family, &addr);
    let family = if family == AF_INET { "ipv4" } else { "ipv6" };
    let mut keys = vec![("family", json!(family)), ("raddr", json!(String::from_utf8_lossy(&text)))];
    if ifindex != 0 {
        keys.push(("ifindex", json!(ifindex)));
    }
    keys
}

fn owner(Key([first, second, pid]): Key) -> Owner {
    Owner { comm: bytes(first, second), pid: pid as u32, ..Owner::default() }
}

/// A remote end as it lies in a key.
struct Remote {
    addr: [u8; 16],
    /// Of a link-local address; else zero.
    ifindex: u32,
    port: u16,
    family: u16,
}

fn remote(Key([first, second, rest]): Key) -> Remote {
    Remote {
        addr: bytes(first, second),
        ifindex: (rest >> 32) as u32,
        port: (rest >> 16) as u16,
        family: rest as u16,
    }
}

/// Two words in memory order.
fn bytes(first: u64, second: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&first.to_ne_bytes());
    bytes[8..].copy_from_slice(&second.to_ne_bytes());
    bytes
}

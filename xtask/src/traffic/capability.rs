//! What kernels do differently, found by trying it or by asking for it: never by the kernel's version.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::Result;

use super::counters::Counters;
use super::scene::Scene;
use super::tcp::{LOOPBACK, Pair, listen};
use crate::netns::in_new_netns;

/// Something that not every kernel of the matrix has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// TcpExt TW counts a socket when its timer is first armed (6.1), not when it fires (5.10).
    CountedAtArming,
    /// `net.ipv4.tcp_tw_reuse_delay` (6.14 or 6.15).
    ReuseDelay,
}

impl Capability {
    pub const ALL: [Self; 2] = [Self::CountedAtArming, Self::ReuseDelay];

    const fn about(self) -> &'static str {
        match self {
            Self::CountedAtArming => "time-wait sockets counted when they begin",
            Self::ReuseDelay => "tcp_tw_reuse_delay",
        }
    }

    fn is_here(self) -> Result<bool> {
        match self {
            Self::CountedAtArming => counted_at_arming(),
            Self::ReuseDelay => Ok(Path::new("/proc/sys/net/ipv4/tcp_tw_reuse_delay").exists()),
        }
    }
}

/// What this kernel has of it.
#[derive(Clone, Debug)]
pub struct Capabilities(Vec<Capability>);

impl Capabilities {
    /// Tries everything, in a network namespace of its own where it takes a connection.
    pub fn find() -> Result<Self> {
        let mut here = Vec::new();
        for capability in Capability::ALL {
            if capability.is_here()? {
                here.push(capability);
            }
        }
        Ok(Self(here))
    }

    /// For people.
    pub fn shown(&self) -> String {
        let each = Capability::ALL.map(|capability| {
            format!("{} {}", if self.has(capability) { "has" } else { "lacks" }, capability.about())
        });
        each.join(", ")
    }

    pub fn has(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }
}

/// One time-wait socket is begun and none has ended: is it counted?
fn counted_at_arming() -> Result<bool> {
    in_new_netns("tw-capability", |_| {
        const PORT: u16 = 8000;
        let at = SocketAddr::new(IpAddr::V4(LOOPBACK), PORT);
        let listener = listen(at)?;
        Pair::open(&listener, at, None)?.close_client_first(&mut Scene::new(PORT, 1))?;
        Ok(Counters::read()?.armed_or_fired() > 0)
    })
}

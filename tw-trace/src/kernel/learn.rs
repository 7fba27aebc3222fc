//! How long TIME_WAIT is on this kernel: learned from one connection of our own, before anything is watched.
//!
//! TCP_TIMEWAIT_LEN is compiled into the kernel and vendors change it, so it is read from a timer. Most timers of a
//! host would tell it in time; but sockets that were there before us, and those whose change from FIN_WAIT2 fires
//! no timer event, cannot be dated without it. The connection lives and dies in a network namespace of its own.

use std::{
    fmt,
    fs::File,
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::maps::{Array, MapData};
use nix::{
    sched::{CloneFlags, unshare},
    sys::{
        socket::{setsockopt, sockopt::ReceiveTimeout},
        time::{TimeVal, TimeValLike as _},
    },
};
use tw_trace_common::{config::Cell, length::VARIES};

use super::{
    load::Loaded,
    netns::{Netns, cookie},
    plan::{Plan, Serves},
};

/// For each step of the connection, which takes microseconds where nobody drops its packets.
const PATIENCE: Duration = Duration::from_millis(500);
const DROPPED: &str =
    "the connection's packets do not arrive: something drops them, such as IPAddressDeny= of a systemd unit";

/// Where kernels of Alibaba Cloud and others after them make TIME_WAIT's length a setting of each network namespace.
const SETTING: &str = "/proc/sys/net/ipv4/tcp_tw_timeout";

/// Why it is not known how long TIME_WAIT is.
#[derive(Debug)]
pub enum Unlearned {
    /// It is a setting of each network namespace.
    Varies,
    /// The connection was not made, or its timer not seen.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Unlearned {
    fn from(why: anyhow::Error) -> Self {
        Self::Failed(why)
    }
}

impl fmt::Display for Unlearned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Varies => write!(
                f,
                "this kernel lets each network namespace set how long TIME_WAIT is (net.ipv4.tcp_tw_timeout): sockets of \
                 before the start, and those that left FIN_WAIT2 unseen, are not dated"
            ),
            Self::Failed(why) => write!(
                f,
                "how long TIME_WAIT is was not learned beforehand ({why:#}): sockets of before the start, and those that \
                 left FIN_WAIT2 unseen, are not dated until a timer tells it"
            ),
        }
    }
}

impl Loaded {
    /// Closes a connection in a namespace of its own, with only the start of timers watched and that namespace
    /// kept out of everything else. Needs CAP_SYS_ADMIN. The namespace stays until this is dropped: where it is known
    /// by its inode, the next one would get the same, and its sockets would not be told.
    pub fn learn_timewait_len(&mut self, plan: &Plan) -> Result<(), Unlearned> {
        if plan.program(Serves::Armings).is_none() {
            return Ok(());
        }
        if Path::new(SETTING).exists() {
            self.set_cell(Cell::TimewaitLen, VARIES)?;
            return Err(Unlearned::Varies);
        }
        Ok(self.learn_from_a_connection()?)
    }

    fn learn_from_a_connection(&mut self) -> Result<()> {
        let map = self.ebpf.map_mut("CELLS").context("no map CELLS")?;
        let mut cells = Array::<&mut MapData, u64>::try_from(map)?;
        let (own_net, closed) = thread::scope(|scope| {
            thread::Builder::new()
                .name("learn".into())
                .spawn_scoped(scope, || -> Result<(File, Result<()>)> {
                    unshare(CloneFlags::CLONE_NEWNET)
                        .context("a network namespace of its own (CAP_SYS_ADMIN)")?;
                    let net =
                        cookie().map_or_else(|| Netns::current().map(|netns| netns.inode.into()), Ok)?;
                    let own = File::open("/proc/thread-self/ns/net").context("holding the namespace")?;
                    cells.set(Cell::OwnNet as u32, net, 0)?;
                    Ok((own, close_a_connection()))
                })
                .context("starting a thread")?
                .join()
                .map_err(|_| anyhow!("the thread that makes the connection panicked"))?
        })?;
        self.own_net = Some(own_net);
        closed?;
        match self.cell(Cell::TimewaitLen)? {
            0 => bail!("its timer was not seen"),
            _ => Ok(()),
        }
    }
}

/// shutdown() instead of close() keeps the socket from becoming a FIN_WAIT2 mini-socket first, so that its timer is
/// armed once, for TIME_WAIT proper.
fn close_a_connection() -> Result<()> {
    raise_loopback().context("bringing up the loopback device")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect_timeout(&listener.local_addr()?, PATIENCE).context(DROPPED)?;
    // accept() and read() wait no longer than this (SO_RCVTIMEO, socket(7)).
    setsockopt(&listener, ReceiveTimeout, &TimeVal::milliseconds(PATIENCE.as_millis() as i64))?;
    let (server, _) = listener.accept().context(DROPPED)?;
    client.shutdown(Shutdown::Write)?;
    drop(server);
    // The FIN of the other end has been taken in when reading tells the end.
    client.set_read_timeout(Some(PATIENCE))?;
    let mut nothing = [0u8; 1];
    std::io::Read::read(&mut &client, &mut nothing).context(DROPPED)?;
    Ok(())
}

fn raise_loopback() -> Result<()> {
    use std::os::fd::AsRawFd as _;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: an all-zero ifreq is one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq.
    let failed = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if failed == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_for_how_long_nothing_is_dated() {
        assert!(Unlearned::Varies.to_string().ends_with("are not dated"));
        let failed = Unlearned::from(anyhow!("no room").context("a namespace"));
        assert!(failed.to_string().contains("(a namespace: no room)"), "{failed}");
        assert!(failed.to_string().ends_with("until a timer tells it"), "{failed}");
    }
}

//! A network of one host: a tun device whose packets come back from the peer address, when we say so.
//!
//! Every packet that leaves 10.77.0.1 for 10.77.0.2 is handed back with source and destination swapped, so
//! a client and a listener of the same host talk to each other. Because nothing moves unless [`Mirror::give`]
//! moves it, FINs can cross and segments can be held, repeated or altered on purpose; everything runs on one
//! thread.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};

use super::await_kernel::{PATIENCE, SILENCE, accept};
use super::packet::Packet;
use super::tcp::{CLIENT_COMM, Pair, act_as, listen};
use crate::netns::{interface_request, set_up};

/// linux/if_tun.h; not in the libc crate.
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;

const NONBLOCKING: SockFlag = SockFlag::SOCK_CLOEXEC.union(SockFlag::SOCK_NONBLOCK);
/// SYN, SYN-ACK, ACK.
const HANDSHAKE: u32 = 3;

const DEVICE: &str = "twmirror";
pub(super) const HERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(super) const PEER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub(super) const HERE6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
pub(super) const PEER6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);

/// Which addresses a mirrored connection uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// The device; it goes away when this is dropped.
pub(crate) struct Mirror {
    tun: File,
    device: &'static str,
}

impl Mirror {
    /// Makes the device in the calling thread's network namespace.
    pub(crate) fn open() -> Result<Self> {
        Self::named(DEVICE)
    }

    /// The same under another name, for a second network with the same addresses.
    pub(crate) fn named(device: &'static str) -> Result<Self> {
        let tun = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")
            .context(
                "cannot open /dev/net/tun (kernel module tun): needed to hold packets back on purpose",
            )?;
        let mut request = interface_request(device)?;
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives until the call returns.
        check(unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETIFF, &raw mut request) }, "TUNSETIFF")?;
        set_up(device)?;
        set_address4(device)?;
        let mirror = Self { tun, device };
        mirror.add_address6(HERE6)?;
        // What the kernel says of itself on a new device (router solicitations) is not ours.
        mirror.take()?;
        Ok(mirror)
    }

    pub(crate) const fn device(&self) -> &'static str {
        self.device
    }

    /// The index of the device.
    pub(crate) fn index(&self) -> Result<u32> {
        Ok(if_nametoindex(self.device)?)
    }

    /// An address with 64 bits of network on the device. A kernel without IPv6 has no IPv6 scenarios: [`Mirror::pair`]
    /// then says so.
    pub(crate) fn add_address6(&self, address: Ipv6Addr) -> Result<()> {
        let Ok(control) = socket(AddressFamily::Inet6, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        else {
            return Ok(());
        };
        let index = self.index()?;
        let mut request = libc::in6_ifreq {
            ifr6_addr: libc::in6_addr { s6_addr: address.octets() },
            ifr6_prefixlen: 64,
            ifr6_ifindex: i32::try_from(index)?,
        };
        // SAFETY: on an IPv6 socket SIOCSIFADDR reads one `in6_ifreq`, which lives until the call returns.
        let status =
            unsafe { libc::ioctl(control.as_raw_fd(), libc::SIOCSIFADDR as libc::Ioctl, &raw mut request) };
        check(status, "setting the IPv6 address")?;
        wait_for_address6(SocketAddrV6::new(address, 0, 0, index))
    }

    /// A connection through the mirror: the client's end dials `.2`, the listener sits on `.1`.
    pub(crate) fn pair(&self, family: Family, port: u16) -> Result<Pair> {
        act_as(CLIENT_COMM)?;
        let (here, peer) = family.ends();
        let listener = listen(SocketAddr::new(here, port))?;
        let client = start_connect(SocketAddr::new(peer, port))?;
        for _ in 0..HANDSHAKE {
            self.take_within(PATIENCE)?.iter().try_for_each(|packet| self.give(packet))?;
        }
        let server = accept(&listener)?;
        Ok(Pair { client, server })
    }

    /// Everything the kernel has sent since the last call, undelivered.
    pub(crate) fn take(&self) -> Result<Vec<Packet>> {
        let mut packets = Vec::new();
        let mut buffer = [0u8; 2048];
        loop {
            match (&self.tun).read(&mut buffer) {
                Ok(length) => packets.extend(Packet::parse(&buffer[..length])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(packets),
                Err(error) => return Err(error).context("reading the tun device"),
            }
        }
    }

    /// Delivers a packet to the other end. The kernel has processed it when this returns.
    pub(crate) fn give(&self, packet: &Packet) -> Result<()> {
        self.inject(&packet.mirrored())
    }

    /// Lets a packet arrive as it is.
    pub(crate) fn inject(&self, packet: &Packet) -> Result<()> {
        (&self.tun).write_all(&packet.bytes()?).context("writing to the tun device")
    }

    /// Everything that comes until something comes, but no longer than this.
    pub(crate) fn take_within(&self, limit: Duration) -> Result<Vec<Packet>> {
        let deadline = Instant::now() + limit;
        loop {
            let packets = self.take()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if !packets.is_empty() || left.is_zero() {
                return Ok(packets);
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            poll(&mut [PollFd::new(self.tun.as_fd(), PollFlags::POLLIN)], timeout).context("poll")?;
        }
    }

    /// Delivers everything until both ends are silent.
    pub(crate) fn pump(&self) -> Result<()> {
        loop {
            let packets = self.take()?;
            if packets.is_empty() {
                return Ok(());
            }
            for packet in &packets {
                self.give(packet)?;
            }
        }
    }

    /// The client closes, then the server: the client is in TIME_WAIT. Gives the server's FIN.
    ///
    /// An ACK that the server sends before its FIN, because a busy machine gave it the time, is held back: it
    /// would make a FIN_WAIT2 mini-socket of the client first.
    pub(crate) fn close_client_first(&self, pair: Pair) -> Result<Packet> {
        let Pair { client, server } = pair;
        drop(client);
        let [fin] = self.await_fins().context("of the client")?;
        self.give(&fin)?;
        drop(server);
        let [fin] = self.await_fins().context("of the server")?;
        self.give(&fin)?;
        self.pass_on()?;
        Ok(fin)
    }

    /// Delivers what comes next, and what follows from it.
    pub(crate) fn pass_on(&self) -> Result<()> {
        self.take_within(PATIENCE)?.iter().try_for_each(|packet| self.give(packet))?;
        self.pump()
    }

    /// That many FINs, undelivered; other packets are lost on the way.
    pub(crate) fn await_fins<const N: usize>(&self) -> Result<[Packet; N]> {
        let mut fins = Vec::new();
        while fins.len() < N {
            let packets = self.take_within(PATIENCE)?;
            if packets.is_empty() {
                bail!("{N} FINs were to come, {} came", fins.len());
            }
            fins.extend(packets.into_iter().filter(|packet| packet.tcp.fin));
        }
        fins.try_into().map_err(|fins: Vec<Packet>| anyhow!("{N} FINs were to come, {} came", fins.len()))
    }
}

/// What is on its way arrives before the device is gone.
impl Drop for Mirror {
    fn drop(&mut self) {
        sleep(SILENCE);
    }
}

/// connect() without waiting for the answer.
pub(crate) fn start_connect(to: SocketAddr) -> Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, NONBLOCKING, None)?;
    // Or its TIME_WAIT would keep bind() from the port.
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    dial(fd, to)
}

/// The same from a port of ours that TIME_WAIT may still hold.
pub(crate) fn start_connect_from(from: SocketAddr, to: SocketAddr) -> Result<TcpStream> {
    dial(bound_to(from, None)?, to)
}

/// The same by a socket that is bound to a device first (SO_BINDTODEVICE).
pub(crate) fn start_connect_by(device: &str, from: SocketAddr, to: SocketAddr) -> Result<TcpStream> {
    dial(bound_to(from, Some(device))?, to)
}

/// A socket of this address, and of this device if it is to have one.
fn bound_to(from: SocketAddr, device: Option<&str>) -> Result<OwnedFd> {
    let family = if from.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, NONBLOCKING, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if let Some(device) = device {
        setsockopt(&fd, sockopt::BindToDevice, &device.into()).context("SO_BINDTODEVICE")?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(from)).with_context(|| format!("cannot bind {from}"))?;
    Ok(fd)
}

fn dial(fd: OwnedFd, to: SocketAddr) -> Result<TcpStream> {
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(fd)),
        Err(error) => Err(error).with_context(|| format!("cannot connect to {to}")),
    }
}

/// 10.77.0.1/24 on the device; the route to the peer follows from it.
fn set_address4(device: &str) -> Result<()> {
    let control = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    for (code, address) in
        [(libc::SIOCSIFADDR, HERE), (libc::SIOCSIFNETMASK, Ipv4Addr::new(255, 255, 255, 0))]
    {
        let mut request = interface_request(device)?;
        // SAFETY: `sockaddr_in` is plain old data, all zeroes is a valid one.
        let mut wanted: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        wanted.sin_family = libc::AF_INET as libc::sa_family_t;
        wanted.sin_addr.s_addr = u32::from_ne_bytes(address.octets());
        // SAFETY: both are 16 bytes; an IPv4 socket address is a socket address.
        request.ifr_ifru.ifru_addr =
            unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(wanted) };
        // SAFETY: both requests read one `ifreq`, which lives until the call returns.
        let status = unsafe { libc::ioctl(control.as_raw_fd(), code as libc::Ioctl, &raw mut request) };
        check(status, "setting the IPv4 address")?;
    }
    Ok(())
}

/// A new IPv6 address is tentative until a kernel worker has looked at it.
fn wait_for_address6(address: SocketAddrV6) -> Result<()> {
    let deadline = Instant::now() + 2 * PATIENCE;
    while let Err(error) = UdpSocket::bind(address) {
        if Instant::now() > deadline {
            return Err(error).context("the IPv6 address does not become usable");
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn check(status: i32, what: &'static str) -> Result<()> {
    if status < 0 { Err(std::io::Error::last_os_error()).context(what) } else { Ok(()) }
}

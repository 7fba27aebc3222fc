//! The only reader of kernel memory: sockets, time-wait sockets, timers, and the current task.
//!
//! Prototypes relied on (include/net/sock.h, include/net/inet_timewait_sock.h, include/linux/timer_types.h,
//! read in 5.10, 6.1, 6.12, 6.18, 7.3): `struct sock` and `struct inet_timewait_sock` both begin with a
//! `struct sock_common`.

use core::ffi::c_void;

use aya_ebpf::helpers::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_probe_read_kernel,
    generated::{bpf_get_current_cgroup_id, bpf_probe_read_kernel as bpf_probe_read_kernel_raw},
};
use tw_trace_common::{
    event::{AF_INET, AF_INET6, Owner, Wheel},
    fields::ABSENT,
};

use crate::{globals::offset, maps::Scratch};

/// Bytes of `sock_common` that are copied at once; user space checks that all fields of it lie within.
const COMMON: usize = tw_trace_common::fields::COMMON_BYTES;

/// A copy of the beginning of a `struct sock_common`.
#[repr(C, align(8))]
pub(crate) struct Common([u8; COMMON]);

impl Common {
    #[inline(always)]
    fn at<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: user space refuses to load when a field's end lies behind COMMON (`fields::COMMON_BYTES`).
        unsafe { self.0.as_ptr().add(offset).cast::<T>().read_unaligned() }
    }

    #[inline(always)]
    fn fill(&mut self, sk: u64) -> bool {
        // SAFETY: the destination is as long as told; the helper checks the source.
        unsafe { bpf_probe_read_kernel_raw(self.0.as_mut_ptr().cast(), COMMON as u32, sk as *const c_void) == 0 }
    }
}

#[inline(always)]
fn read<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails on a bad one.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// Reads the connection of a full socket or a time-wait socket into the scratch; false if it cannot be read.
/// The cookie is the one stored, zero if none was given.
#[inline(always)]
pub(crate) fn read_conn(sk: u64, scratch: &mut Scratch) -> bool {
    if !scratch.common.fill(sk) {
        return false;
    }
    let (common, conn) = (&scratch.common, &mut scratch.conn);
    conn.cookie = common.at(offset!(skc_cookie));
    conn.lport = common.at(offset!(skc_num));
    conn.rport = u16::from_be(common.at(offset!(skc_dport)));
    conn.family = common.at(offset!(skc_family));
    conn.netns = read(common.at::<u64>(offset!(skc_net)) + offset!(net_inum) as u64).unwrap_or(0);
    match conn.family {
        AF_INET => {
            conn.laddr = v4(common.at(offset!(skc_rcv_saddr)));
            conn.raddr = v4(common.at(offset!(skc_daddr)));
        }
        AF_INET6 if offset!(skc_v6_daddr) != ABSENT as usize => {
            conn.laddr = words(
                common.at(offset!(skc_v6_rcv_saddr)),
                common.at(offset!(skc_v6_rcv_saddr) + 8),
            );
            conn.raddr = words(common.at(offset!(skc_v6_daddr)), common.at(offset!(skc_v6_daddr) + 8));
        }
        _ => {
            conn.laddr = [0; 16];
            conn.raddr = [0; 16];
        }
    }
    true
}

/// An IPv4 address in the first four bytes.
#[inline(always)]
fn v4(addr: u32) -> [u8; 16] {
    // SAFETY: four words are sixteen bytes.
    unsafe { core::mem::transmute([addr, 0, 0, 0]) }
}

/// Two words in memory order as an address.
#[inline(always)]
fn words(first: u64, second: u64) -> [u8; 16] {
    // SAFETY: two words are sixteen bytes.
    unsafe { core::mem::transmute([first, second]) }
}

/// The local port of a full socket that has given it back: `inet_put_port` clears `inet_num` before a socket
/// goes to CLOSE (`tcp_set_state`), but not `inet_sport`. Zero before there was one.
#[inline(always)]
pub(crate) fn former_port(sk: u64) -> u16 {
    u16::from_be(read(sk + offset!(inet_sport) as u64).unwrap_or(0))
}

/// `sk->sk_protocol`: `inet_sock_set_state` fires for SCTP, DCCP and MPTCP too.
#[inline(always)]
pub(crate) fn protocol(sk: u64) -> u16 {
    read(sk + offset!(sk_protocol) as u64).unwrap_or(0)
}

/// `sk_common->skc_state`: TCP_TIME_WAIT tells a time-wait socket from a full one.
#[inline(always)]
pub(crate) fn state(sk: u64) -> u8 {
    read(sk + offset!(skc_state) as u64).unwrap_or(0)
}

#[inline(always)]
pub(crate) fn substate(tw: u64) -> u8 {
    read(tw + offset!(tw_substate) as u64).unwrap_or(0)
}

/// The time-wait socket around a `tw_timer`.
#[inline(always)]
pub(crate) fn tw_of_timer(timer: u64) -> u64 {
    timer - offset!(tw_timer) as u64
}

#[inline(always)]
pub(crate) fn timer_of_tw(tw: u64) -> u64 {
    tw + offset!(tw_timer) as u64
}

/// `timer->expires`, in jiffies.
#[inline(always)]
pub(crate) fn expires(timer: u64) -> u64 {
    read(timer + offset!(timer_expires) as u64).unwrap_or(0)
}

/// `timer->entry.pprev`: what points to this timer; zero when it is not pending.
#[inline(always)]
pub(crate) fn pprev(timer: u64) -> u64 {
    read(timer + offset!(timer_pprev) as u64).unwrap_or(0)
}

/// Where the timer sits on the wheel (kernel/time/timer.c since 4.8: `flags >> 22` is the bucket's index,
/// `flags & 0x3ffff` the CPU; `calc_index` rounds up to the next bucket).
#[inline(always)]
pub(crate) fn wheel(timer: u64) -> Wheel {
    let flags: u32 = read(timer + offset!(timer_flags) as u64).unwrap_or(0);
    let expires = expires(timer);
    let index = flags >> 22;
    let level = index >> 6;
    let shift = u64::from(level * 3) & 63;
    Wheel {
        expires,
        bucket: ((expires >> shift) + 1) << shift,
        cpu: flags & 0x3ffff,
        level: level as u8,
        slot: (index & 63) as u8,
        spare: 0,
    }
}

/// The current task as an owner. True only where the caller runs in the context of the process it asks about.
#[inline(always)]
pub(crate) fn read_current(owner: &mut Owner) {
    // SAFETY: takes no arguments.
    owner.cgroup = unsafe { bpf_get_current_cgroup_id() };
    owner.pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    owner.comm = bpf_get_current_comm().unwrap_or([0; 16]);
}

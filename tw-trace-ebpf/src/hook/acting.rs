//! Which process makes a change of a socket: the current task, if the change is made in its name; else who closed the
//! MPTCP socket that the kernel closes a subflow for; else nobody that is known.

use tw_trace_common::{event::Owner, fields::ABSENT};

use crate::{
    globals::{self, offset},
    maps::MPTCP_CLOSERS,
    memory::{Memory, Probed},
    sock,
    states::{CLOSE, ESTABLISHED, FIN_WAIT1, LAST_ACK, SYN_RECV, SYN_SENT},
    task, words,
};

/// Writes down who acts on the socket; leaves `owner` as it is where that is not known.
///
/// The current task acts if it holds the socket and is no thread of the kernel. In a softirq nobody holds it: since
/// 94062790aeda (6.10, and stable releases) a shutdown() in SYN_RECV is made up for there, and the task is an accident.
#[inline(always)]
pub(crate) fn acts<M: Memory>(sk: u64, owner: &mut Owner) {
    let current = task::current();
    if task::is_kernel_thread(current) {
        closer_of_connection(sk, owner);
    } else if sock::is_owned::<M>(sk) {
        task::read_current(current, owner);
    }
}

/// The worker of MPTCP (`mptcp_worker`, net/mptcp/protocol.c, 5.10 – 7.3) closes the subflows of a connection.
#[inline(always)]
fn closer_of_connection(sk: u64, owner: &mut Owner) {
    if !knows_mptcp() || Probed::read::<u8>(sk, offset!(is_mptcp)) & 1 == 0 {
        return;
    }
    let context: u64 = Probed::read(sk, offset!(icsk_ulp_data));
    let connection: u64 = Probed::read(context, offset!(subflow_conn));
    if let Some(closer) = MPTCP_CLOSERS.get_ptr(connection) {
        // SAFETY: a map value; it is only written again when the connection is made anew.
        words::copy(owner, unsafe { &*closer });
    }
}

/// Tells whether all fields of MPTCP that are read here exist in this kernel. The verifier knows the answer beforehand, and
/// leaves out what depends on it.
#[inline(always)]
fn knows_mptcp() -> bool {
    let absent = usize::from(ABSENT);
    globals::owners()
        && offset!(is_mptcp) != absent
        && offset!(icsk_ulp_data) != absent
        && offset!(subflow_conn) != absent
}

/// `mptcp_set_state`, `mptcp_close_state` (net/mptcp/protocol.c, 5.10 – 7.3) store the state of an MPTCP socket through
/// `inet_sk_state_store`, before any subflow is closed. It is kept by address until the address is another connection's.
#[inline(always)]
pub(crate) fn mptcp_changed<M: Memory>(sk: u64, new: u8) {
    if !knows_mptcp() {
        return;
    }
    match new {
        FIN_WAIT1 | LAST_ACK | CLOSE => {
            let current = task::current();
            if !task::is_kernel_thread(current) && sock::is_owned::<M>(sk) {
                let mut owner = Owner { cgroup: 0, pid: 0, spare: 0, comm: [0; 16] };
                task::read_current(current, &mut owner);
                let _ = MPTCP_CLOSERS.insert(sk, owner, 0);
            }
        }
        SYN_SENT | SYN_RECV | ESTABLISHED => {
            let _ = MPTCP_CLOSERS.remove(sk);
        }
        _ => {}
    }
}

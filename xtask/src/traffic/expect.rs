//! What a scenario leads to, in numbers that the kernel's counters and a tracer must both show.

/// What one unit of a scenario's count leads to.
#[derive(Clone, Copy, Debug)]
pub struct Expect {
    /// Connections made.
    pub connections: u32,
    /// Time-wait sockets that begin (TcpExt TW + TWKilled); both ends can have one.
    pub began: u32,
    /// Of these, the ones that begin in the FIN_WAIT2 substate.
    pub began_in_fin_wait2: u32,
    /// Time-wait sockets that reach TIME_WAIT proper.
    pub time_wait: u32,
    /// Time-wait sockets that end while the scenario runs, and the reason.
    pub ended: Option<(u32, &'static str)>,
    /// The cause of one re-arm.
    pub rearm: Option<&'static str>,
    /// Connections that skip TIME_WAIT because there is no room.
    pub overflow: u32,
    /// TcpExt TWRecycled.
    pub recycled: u32,
}

/// One connection, nothing of it in TIME_WAIT: what the other expectations differ from.
pub(super) const NO_TIME_WAIT: Expect = Expect {
    connections: 1,
    began: 0,
    began_in_fin_wait2: 0,
    time_wait: 0,
    ended: None,
    rearm: None,
    overflow: 0,
    recycled: 0,
};
/// One connection, one end in TIME_WAIT.
pub(super) const ONE: Expect = Expect { began: 1, time_wait: 1, ..NO_TIME_WAIT };
/// The same, by way of a FIN_WAIT2 mini-socket.
pub(super) const VIA_FIN_WAIT2: Expect = Expect { began_in_fin_wait2: 1, rearm: Some("fin"), ..ONE };
/// A FIN_WAIT2 mini-socket whose FIN never comes.
pub(super) const FIN_WAIT2_ONLY: Expect = Expect { began: 1, began_in_fin_wait2: 1, ..NO_TIME_WAIT };

//! TCP states, time-wait substates, and the reasons and causes that tw-trace tells, as numbers and names.

/// A byte that names no variant of the enum it was read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unnamed(pub u8);

/// An enum of `u8` variants with their printed names: `TryFrom<u8>`, `name()`, `from_name()`, `ALL`.
macro_rules! named {
    ($(#[$doc:meta])* $enum:ident { $($(#[$vdoc:meta])* $variant:ident = $value:literal => $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $enum { $($(#[$vdoc])* $variant = $value,)+ }

        impl $enum {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name as every output prints it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The variant of this name, letter case aside.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|v| v.name().eq_ignore_ascii_case(name))
            }

            /// This variant's bit in a mask of variants.
            pub const fn bit(self) -> u16 {
                1 << self as u8
            }
        }

        impl TryFrom<u8> for $enum {
            type Error = Unnamed;
            fn try_from(byte: u8) -> Result<Self, Unnamed> {
                match byte { $($value => Ok(Self::$variant),)+ other => Err(Unnamed(other)) }
            }
        }
    };
}

named! {
    /// `enum` of include/net/tcp_states.h (5.10 – 7.3), names as in tcp(7).
    TcpState {
        Established = 1 => "ESTABLISHED",
        SynSent = 2 => "SYN_SENT",
        SynRecv = 3 => "SYN_RECV",
        FinWait1 = 4 => "FIN_WAIT1",
        FinWait2 = 5 => "FIN_WAIT2",
        TimeWait = 6 => "TIME_WAIT",
        Close = 7 => "CLOSE",
        CloseWait = 8 => "CLOSE_WAIT",
        LastAck = 9 => "LAST_ACK",
        Listen = 10 => "LISTEN",
        Closing = 11 => "CLOSING",
        NewSynRecv = 12 => "NEW_SYN_RECV",
        BoundInactive = 13 => "BOUND_INACTIVE",
    }
}

named! {
    /// `inet_timewait_sock.tw_substate`: what the time-wait mini-socket stands for.
    Substate {
        /// The peer's FIN is still to come (`tcp_fin_timeout`, orphaned socket).
        FinWait2 = 5 => "FIN_WAIT2",
        /// TIME_WAIT proper.
        TimeWait = 6 => "TIME_WAIT",
    }
}

named! {
    /// Why a time-wait socket ended.
    ExitReason {
        Unknown = 0 => "unknown",
        /// `tw_timer_handler` ran.
        Expired = 1 => "expired",
        /// A local connect() took the port (`tcp_twsk_unique` said yes).
        Reused = 2 => "reused",
        /// The peer's new SYN was accepted (TCP_TW_SYN).
        NewSyn = 3 => "new_syn",
        /// An RST of the peer (TIME_WAIT assassination, RFC 1337).
        Rst = 4 => "rst",
        /// Data or SYN after close in FIN_WAIT2: we answered RST (TCP_TW_RST).
        ResetSent = 5 => "reset_sent",
        /// `ss -K`, sock_diag destroy (`tcp_abort`).
        Killed = 6 => "killed",
        /// The network namespace was removed (`inet_twsk_purge`).
        NetnsGone = 7 => "netns_gone",
    }
}

named! {
    /// What restarted a time-wait socket's clock (`tcp_timewait_state_process`).
    RearmCause {
        Unknown = 0 => "unknown",
        /// The FIN that ends the FIN_WAIT2 substate.
        Fin = 1 => "fin",
        /// A bare ACK inside the window.
        Ack = 2 => "ack",
        /// A segment outside the window (a retransmitted FIN, a wandering duplicate).
        LateSegment = 3 => "late_segment",
        /// A segment that failed PAWS.
        Paws = 4 => "paws",
    }
}

named! {
    /// Whether the start of TIME_WAIT was seen or worked out from the timer.
    Entered {
        Exact = 0 => "exact",
        Estimated = 1 => "estimated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_names_round_trip() {
        for state in TcpState::ALL {
            assert_eq!(TcpState::try_from(*state as u8), Ok(*state));
            assert_eq!(TcpState::from_name(state.name()), Some(*state));
        }
        for reason in ExitReason::ALL {
            assert_eq!(ExitReason::try_from(*reason as u8), Ok(*reason));
        }
        assert_eq!(TcpState::from_name("fin_wait1"), Some(TcpState::FinWait1));
        assert_eq!(TcpState::from_name("FINWAIT"), None);
        assert_eq!(TcpState::try_from(0), Err(Unnamed(0)));
        assert_eq!(TcpState::try_from(14), Err(Unnamed(14)));
        assert_eq!(Substate::try_from(4), Err(Unnamed(4)));
        assert_eq!(ExitReason::try_from(8), Err(Unnamed(8)));
    }

    #[test]
    fn bits_are_distinct() {
        let mask = TcpState::ALL.iter().fold(0, |mask, s| mask | s.bit());
        assert_eq!(mask.count_ones() as usize, TcpState::ALL.len());
    }
}

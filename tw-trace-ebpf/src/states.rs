//! The numbers of TCP states, as constants to match the kernel's bytes against.

use tw_trace_common::state::TcpState;

pub(crate) const ESTABLISHED: u8 = TcpState::Established as u8;
pub(crate) const SYN_SENT: u8 = TcpState::SynSent as u8;
pub(crate) const SYN_RECV: u8 = TcpState::SynRecv as u8;
pub(crate) const FIN_WAIT1: u8 = TcpState::FinWait1 as u8;
pub(crate) const FIN_WAIT2: u8 = TcpState::FinWait2 as u8;
pub(crate) const CLOSE: u8 = TcpState::Close as u8;
pub(crate) const LAST_ACK: u8 = TcpState::LastAck as u8;
pub(crate) const LISTEN: u8 = TcpState::Listen as u8;
pub(crate) const CLOSING: u8 = TcpState::Closing as u8;

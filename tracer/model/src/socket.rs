//! A socket of the server, and what TCP knows of it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{time::Nanos, transport::Transport};

/// A socket, as each event carries it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Socket {
    /// Which one.
    pub id: SocketId,
    /// The descriptor it was used through, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fd: Option<i32>,
    /// Whether the server accepted it from a client.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accepted: bool,
    /// Its transport.
    pub transport: Transport,
    /// This end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<SocketAddr>,
    /// The other end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<SocketAddr>,
    /// The other end of a Unix socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Identity of a socket for the length of a trace. The kernel's address of it is reused and is
/// nobody's business outside of the kernel; the moment it was first seen is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SocketId {
    /// When it was first seen, ns.
    pub born: Nanos,
    /// Tells apart sockets first seen in the same nanosecond.
    pub slot: u16,
}

/// TCP's own view of a connection at one moment. What this kernel does not report is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tcp {
    /// Sequence number of the first byte that is not acknowledged.
    pub una: u32,
    /// Sequence number of the next byte to be sent.
    pub nxt: u32,
    /// Sequence number behind the last byte that was written.
    pub end: u32,
    /// The peer's window, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// Largest segment, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mss: Option<u32>,
    /// Memory of the send queue, bytes. More than the data in it: each piece has its overhead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<u32>,
    /// Limit of that, the send buffer's size, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Smoothed round-trip time, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub srtt: Option<Nanos>,
    /// Retransmission time-out, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto: Option<Nanos>,
    /// Since the last ACK arrived, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_age: Option<Nanos>,
    /// Time-outs in a row without an ACK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<u32>,
    /// Window probes in a row without an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
    /// An ICMP error that TCP has not given up for, 0 if none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub soft_error: i32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// Segments of a window that is next to none.
const SMALL_WINDOW: u32 = 8;

impl Tcp {
    /// Bytes sent and not acknowledged.
    pub fn unacked(&self) -> u32 {
        self.nxt.wrapping_sub(self.una)
    }

    /// Bytes written and not sent.
    pub fn unsent(&self) -> u32 {
        self.end.wrapping_sub(self.nxt)
    }

    /// Whether data waits because the peer advertises next to no window: its process does not read. A larger window that is
    /// full of data under way is the path's doing: a peer that reads all offers at least ten segments (`TCP_INIT_CWND`), one
    /// that does not offers what little it has left.
    pub fn window_closed(&self) -> bool {
        let segment = self.mss.unwrap_or(1).max(1);
        let left = |window: u32| window.saturating_sub(self.unacked());
        let is_small = |window: u32| window < segment.saturating_mul(SMALL_WINDOW);
        self.unsent() > 0
            && self
                .window
                .is_some_and(|window| left(window) < segment && is_small(window))
    }
}

/// The data in a connection's send queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendQueue {
    /// This end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// From the first byte that is not acknowledged on, the FIN included.
    pub bytes: u32,
}

/// `include/net/tcp_states.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
#[expect(missing_docs, reason = "RFC 9293 names")]
pub enum TcpState {
    Established = 1,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynRecv,
    BoundInactive,
}

impl TcpState {
    const ALL: [Self; 13] = [
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
        Self::NewSynRecv,
        Self::BoundInactive,
    ];

    /// The state with the kernel's number, if this program knows it.
    pub fn from_kernel(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

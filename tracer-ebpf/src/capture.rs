//! Capture mode: which records the programs send to the agent, and which they buffer. The agent and the programs
//! share one state machine. The programs read its [`Mode`] from a map; the agent keeps the rest
//! (`CaptureController`).
//!
//! ```text
//!            trace without --record              trace with --record
//!                     |                                   |
//!                     v                                   v
//!                +--------+  agent: no anomaly      +--------+
//!                |        |  for 2 s, core idle     |        |
//!                | BUFFER |<------------------------| STREAM |
//!                |        |  (not with --record)    |        |
//!                |        |                         |        |
//!                |        |------------------------>|        |
//!                +--------+  agent: a socket is     +--------+
//!                  |         Blocked for 25 ms,         ^
//!  programs: a     |         or a goroutine is          |
//!  write or a      |         stuck in a device's code   |
//!  connection of   |                                    |
//!  the server's    |                                    |
//!  fails           v                                    |
//!                +--------+                             |
//!                | FROZEN |-----------------------------+
//!                +--------+  agent: finds it so
//! ```
//!
//! In `Buffer` normal traffic stays in the kernel and anything else is sent. In `Frozen` all is sent, and the buffers
//! stay as they were when something failed: nothing counts what is sent then but the core, so there is no way back. On the way
//! to `Stream` the agent fetches the buffers and gives the core what it needs of requests under way.

use crate::{abi::Count, protocol::SendOutcome};

/// What the programs do with records. The discriminants are the values in the map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Mode {
    /// They send all.
    #[default]
    Stream = 0,
    /// They buffer normal traffic and send the rest.
    Buffer = 1,
    /// They send all and leave the buffers as they are.
    Frozen = 2,
}

/// Who connects to a port on which the server listens. The discriminants are the values in the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Peers {
    /// The agent has not found out yet: such connections are left out.
    Undecided = 0,
    /// Its clients.
    Clients = 1,
    /// The other nodes of its cluster, which make no client's requests: such connections are left out.
    Nodes = 2,
}

impl Peers {
    /// Unknown values are undecided.
    #[inline(always)]
    pub const fn from_wire(value: u8) -> Self {
        match value {
            1 => Self::Clients,
            2 => Self::Nodes,
            _ => Self::Undecided,
        }
    }
}

impl Mode {
    /// Unknown values stream: nothing is lost by that.
    #[inline(always)]
    pub const fn from_wire(value: u32) -> Self {
        match value {
            1 => Self::Buffer,
            2 => Self::Frozen,
            _ => Self::Stream,
        }
    }

    /// The mode after a failure: the agent is to find the buffers as they are now.
    #[inline(always)]
    #[must_use]
    pub const fn after_failure(self) -> Self {
        match self {
            Self::Buffer => Self::Frozen,
            other => other,
        }
    }
}

/// Purpose of a socket that the server opened, as the agent has learned it. The discriminants are the values in the map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Role {
    /// Not known yet.
    #[default]
    Unknown = 0,
    /// The server writes audit entries to it.
    Audit = 1,
    /// Storage, authentication and the like: while buffering, nothing is sent about it.
    Other = 2,
    /// It leads to an audit device, which others may lead to that carry no entries.
    Device = 3,
}

impl Role {
    /// The role with this value.
    #[inline(always)]
    pub const fn from_wire(value: u32) -> Self {
        match value {
            1 => Self::Audit,
            2 => Self::Other,
            3 => Self::Device,
            _ => Self::Unknown,
        }
    }
}

/// Role of a goroutine in the map: it reads a client's connection.
pub const READS_CONNECTION: u32 = 1;

/// It writes entries and reads no connection.
pub const WRITES_ENTRIES: u32 = 2;

/// Whether no event of this socket is sent while buffering: clients come and go, and other sockets block no entry.
#[inline(always)]
pub fn is_ignored(accepted: bool, role: Role) -> bool {
    accepted || role == Role::Other
}

/// What becomes of the record of a send while buffering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It is dropped.
    Discard,
    /// It goes into the ring of entries.
    Buffer,
    /// It is sent.
    Stream,
    /// It is sent, and the buffers are frozen.
    Freeze,
}

/// Decides about a send on a socket that the server opened. `takes`: see [`AuditSocket::takes`], of audit
/// sockets. `has_bytes`: whether the program can copy what was sent.
#[inline(always)]
pub fn dispose_of_send(
    role: Role,
    outcome: SendOutcome,
    has_bytes: bool,
    takes: Takes,
) -> Disposition {
    let takes = match role {
        Role::Other => return Disposition::Discard,
        Role::Audit => takes,
        Role::Unknown | Role::Device => Takes::Late,
    };
    match takes {
        Takes::Normally if has_bytes => Disposition::Buffer,
        Takes::Unacknowledged => Disposition::Freeze,
        _ if matches!(outcome, SendOutcome::Failed) => Disposition::Freeze,
        _ => Disposition::Stream,
    }
}

/// How an audit socket took a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// As a healthy one does.
    Normally,
    /// Not whole, or the one before was not: the write after one that fell short shows how long that lasted.
    Late,
    /// Whole, but its peer acknowledges nothing.
    Unacknowledged,
}

/// Longest time without an acknowledgement that is normal, ns: longer than the first retransmissions take.
pub const ACK_TIMEOUT: u64 = 500_000_000;

/// Progress of an audit socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct AuditSocket {
    /// First sequence number that was not acknowledged at the last write.
    una: u32,
    /// 1 if the last write was not complete.
    was_short: u32,
    /// Time since which `una` has not moved, ns.
    una_since: u64,
    /// 1 if entries are sent in requests of HTTP.
    is_http: u32,
    /// Why it is an audit socket, where its own bytes show it: a [`Shown`].
    shown: u32,
}

/// What the bytes that are sent on a socket show of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Shown {
    /// Nothing yet.
    Nothing = 0,
    /// A request began as those with entries do ([`EntryRequest`](crate::abi::EntryRequest)).
    Entries = 1,
    /// TLS, to an audit device: entries cannot be seen in it.
    Tls = 2,
}

impl AuditSocket {
    /// At the time at which the socket was first seen, ns.
    #[inline(always)]
    pub const fn new(now: u64) -> Self {
        Self {
            una: 0,
            was_short: 0,
            una_since: now,
            is_http: 0,
            shown: Shown::Nothing as u32,
        }
    }

    /// Whether entries are sent in requests of HTTP: by a goroutine of the client's, which is no handler.
    #[inline(always)]
    pub const fn is_http(&self) -> bool {
        self.is_http != 0
    }

    /// Its bytes show that it is an audit socket.
    #[inline(always)]
    pub fn shows(&mut self, shown: Shown) {
        self.shown = shown as u32;
    }

    /// Whether its bytes show that it is an audit socket.
    #[inline(always)]
    pub const fn is_shown(&self) -> bool {
        self.shown != Shown::Nothing as u32
    }

    /// Whether entries cannot be seen, and so not be counted.
    #[inline(always)]
    pub const fn is_tls(&self) -> bool {
        self.shown == Shown::Tls as u32
    }

    /// Whether a write begins an entry. A device of its own writes each entry in one call; a client of HTTP writes 4 kB of the
    /// request, and then the rest. `is_request`: whether a request of HTTP begins.
    #[inline(always)]
    pub fn begins_entry(&mut self, is_request: bool) -> bool {
        if is_request {
            self.is_http = 1;
        }
        is_request || self.is_http == 0
    }

    /// How it took a write. `una` and `before`: beginning (TCP's `snd_una`) and end of what was unacknowledged before the write;
    /// equal if there was nothing, or if the socket has no such queue. No `Option`: see `emit::Report::regs`.
    #[inline(always)]
    pub fn takes(&mut self, outcome: SendOutcome, (una, before): (u32, u32), now: u64) -> Takes {
        let is_short = !matches!(outcome, SendOutcome::Complete);
        let was_short = self.was_short != 0;
        self.was_short = u32::from(is_short);
        if is_short || was_short {
            Takes::Late
        } else if self.is_unacknowledged(una, before, now) {
            Takes::Unacknowledged
        } else {
            Takes::Normally
        }
    }

    #[inline(always)]
    fn is_unacknowledged(&mut self, una: u32, before: u32, now: u64) -> bool {
        if before == una || self.una != una {
            self.una = una;
            self.una_since = now;
        }
        now.wrapping_sub(self.una_since) > ACK_TIMEOUT
    }
}

/// A client's connection at a receive or a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientConnection {
    /// Time of the buffered receive, ns; 0 before the first.
    pub received_at: u64,
    /// Time of the last send before this call, ns; 0 before the first.
    pub sent_at: u64,
    /// See [`is_served_by_reader`].
    pub is_served_by_reader: bool,
    /// Whether the buffered receive was a TLS handshake.
    pub is_handshake: bool,
}

impl ClientConnection {
    /// Whether a request is under way.
    #[inline(always)]
    const fn awaits_answer(self) -> bool {
        self.received_at > self.sent_at
    }

    /// Whether a receive replaces the buffered one. It does unless it brings the rest of the request under way.
    /// Where several requests share the connection, the last receive counts.
    #[inline(always)]
    pub const fn begins_request(self) -> bool {
        let is_shared = self.sent_at != 0 && !self.is_served_by_reader;
        !self.awaits_answer() || is_shared || self.is_handshake
    }

    /// The counter of a send.
    #[inline(always)]
    pub const fn count_of_send(self) -> Option<Count> {
        if !self.is_served_by_reader {
            Some(Count::Frames)
        } else if self.awaits_answer() && !self.is_handshake {
            Some(Count::Answers)
        } else {
            None
        }
    }
}

/// The further counter of a send with this status, 0 where none was read. Frames of HTTP/2 have none.
#[inline(always)]
pub const fn count_of_status(sent: Count, status: u16) -> Option<Count> {
    match (sent, status) {
        (Count::Frames, _) | (_, 0) => Some(Count::UnreadAnswers),
        (_, 500..) => Some(Count::FailedAnswers),
        _ => None,
    }
}

/// Whether the goroutine that sent last serves the connection: it reads it, or started the goroutine that does
/// (`net/http`, `connReader.backgroundRead`). In HTTP/2 other goroutines write frames than read them.
#[inline(always)]
pub const fn is_served_by_reader(writer: u64, reader: u64, readers_parent: u64) -> bool {
    writer == reader || writer == readers_parent
}

/// Index in the ring of entries: each processor has `slots` of its own, a power of two, and uses them in turn.
#[inline(always)]
pub const fn ring_slot(processor: u32, number: u64, slots: u32) -> u32 {
    processor * slots + (number as u32 & (slots - 1))
}

#[cfg(test)]
mod tests;

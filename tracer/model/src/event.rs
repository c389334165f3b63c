//! What happened, live or recorded: one type. Everything the core ever learns arrives as an
//! [`Event`], so a recording of them replays to the same report.
//!
//! Times are `CLOCK_MONOTONIC` nanoseconds, as the kernel took them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    actor::Actor,
    device::{ConfiguredDevice, Device},
    device_failure::DeviceFailure,
    entry::EntryHead,
    entry_query::EntryQuery,
    goroutine::{ForwardedSample, GoroutineSample, HandlerSample},
    phase::Phase,
    socket::{SendQueue, Socket, Tcp, TcpState},
    time::Nanos,
};

/// The format of recordings, that is of events as serde writes them. Raised when an older agent would misunderstand a
/// newer recording: a further field that may be absent is no reason, a further kind of event is. Those of before
/// there was a number are of format 0, which is the same without it.
pub const FORMAT: u32 = 6;

/// One observation and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened.
    pub at: Nanos,
    /// What happened.
    #[serde(flatten)]
    pub what: EventKind,
}

impl Event {
    /// The socket that it is about, if it is about one.
    pub fn socket(&self) -> Option<&Socket> {
        match &self.what {
            EventKind::Send { socket, .. }
            | EventKind::Receive { socket, .. }
            | EventKind::State { socket, .. }
            | EventKind::Retransmit { socket }
            | EventKind::WindowProbe { socket }
            | EventKind::Rejected { socket, .. }
            | EventKind::Reset { socket }
            | EventKind::Drop { socket, .. }
            | EventKind::SocketError { socket, .. }
            | EventKind::ConnectFailed { socket, .. }
            | EventKind::BufferedWrite { socket, .. } => Some(socket),
            _ => None,
        }
    }

    /// Who made the system call in which it happened, if one did.
    pub fn actor(&self) -> Option<Actor> {
        match &self.what {
            EventKind::Send { by, .. }
            | EventKind::Receive { by, .. }
            | EventKind::ConnectFailed { by, .. }
            | EventKind::DevicesFailed { by, .. } => Some(*by),
            EventKind::State { by, .. } => *by,
            _ => None,
        }
    }
}

/// Everything that can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// The probes are attached. First of every stream.
    Session(Session),
    /// A send on a socket returned.
    Send {
        /// The socket.
        socket: Socket,
        /// Who sent.
        by: Actor,
        /// Bytes taken, or `-errno`.
        result: i64,
        /// Bytes asked for, where known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        requested: Option<u64>,
        /// The audit entry that begins in this send, if one does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entry: Option<EntryHead>,
        /// The connection after it, for those that the server opened.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tcp: Option<Tcp>,
        /// Status of the HTTP/1 answer that begins in it, for clients' connections without TLS.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
    },
    /// A receive on a client's connection returned; 0 bytes is the end of what the client sends.
    Receive {
        /// The connection.
        socket: Socket,
        /// Who received.
        by: Actor,
        /// How much.
        bytes: u64,
        /// Whether it begins with a TLS record that carries no request: handshake, alert.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        handshake: bool,
    },
    /// A TCP socket changed its state.
    State {
        /// The socket.
        socket: Socket,
        /// The running thread, if one of the server's: for what only a process does, who did it;
        /// for what the peer does, the thread that was interrupted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Actor>,
        /// From.
        old: TcpState,
        /// To.
        new: TcpState,
        /// The socket's pending error, 0 if none.
        errno: i32,
        /// The connection at that moment, for those that the server opened.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tcp: Option<Tcp>,
    },
    /// An HTTP server answered that it does not take what was last sent on this connection of the server's own.
    Rejected {
        /// The socket.
        socket: Socket,
        /// Of the answer.
        status: u16,
    },
    /// TCP retransmitted a segment.
    Retransmit {
        /// The socket.
        socket: Socket,
    },
    /// TCP probed a closed window, or once more tried to send what this host does not let out.
    WindowProbe {
        /// The socket.
        socket: Socket,
    },
    /// A RST arrived.
    Reset {
        /// The socket.
        socket: Socket,
    },
    /// The kernel of this host dropped a packet of this socket.
    Drop {
        /// The socket.
        socket: Socket,
        /// `enum skb_drop_reason` of the running kernel, without `SKB_DROP_REASON_`.
        reason: String,
        /// Whether it had come from the network, rather than from this host.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        incoming: bool,
        /// Whether it had left the server's network namespace, and was dropped beyond that on this host.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        beyond: bool,
    },
    /// The kernel reported an error on a socket (ICMP, time-out).
    SocketError {
        /// The socket.
        socket: Socket,
        /// `sk_err`, 0 if none.
        errno: i32,
        /// `sk_err_soft`, 0 if none.
        soft: i32,
    },
    /// `connect()` failed at once.
    ConnectFailed {
        /// The socket.
        socket: Socket,
        /// Who connected.
        by: Actor,
        /// Why.
        errno: i32,
    },
    /// The server says in its log that audit devices did not take an entry.
    DevicesFailed {
        /// The goroutine that says so: the request's own.
        by: Actor,
        /// Which of the request's entries.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        phase: Option<Phase>,
        /// Those that did not take it.
        failures: Vec<DeviceFailure>,
    },
    /// The answer to a query of the core: the size of an audit file.
    FileSize {
        /// Its path, as the server has it.
        path: String,
        /// Bytes; absent where there is no such file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        /// Whether the server has it open for appending, and no other file in its place; absent where that is not certain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        open: Option<bool>,
        /// Bytes free in its file system.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        free: Option<u64>,
    },
    /// The server was started again, and the probes are attached to the new one.
    Restarted(Session),
    /// The answer to a query of the core: the entry of a request in the audit files.
    EntryFound {
        /// The query.
        asked: EntryQuery,
        /// The entry, if there is exactly one request it can be of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entry: Option<EntryHead>,
    },
    /// The answer to a query of the core: the goroutines that wait in the code of audit devices.
    #[serde(rename = "parked")]
    GoroutinesSampled {
        /// Those that do.
        goroutines: Vec<GoroutineSample>,
        /// Requests' own goroutines that are in the audit broker; `None` where the sampler cannot read them, and in recordings
        /// of before format 2.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        handlers: Option<Vec<HandlerSample>>,
    },
    /// With such an answer, on a node of a cluster: the requests' own goroutines that wait for the active node. Absent as long as
    /// none does.
    #[serde(rename = "forwarded")]
    ForwardedSampled {
        /// Those that do.
        handlers: Vec<ForwardedSample>,
    },
    /// The server's own table of audit devices was read: when the trace began, and when it had changed.
    #[serde(rename = "audit_devices")]
    DevicesRead {
        /// All that it has.
        devices: Vec<ConfiguredDevice>,
    },
    /// The operator said that these are audit devices, by names that could not be looked up before.
    DevicesDeclared {
        /// Where they are.
        devices: Vec<Device>,
    },
    /// Records that found the ring buffer full since the last such event.
    #[serde(rename = "lost")]
    RecordsLost {
        /// Kind of record.
        kind: String,
        /// How many.
        records: u64,
        /// Records that follow may have come before the loss or after it, up to this time; absent where all come after it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Nanos>,
    },
    /// A write to an audit socket, of a request that is over, that was kept in the kernel while buffering. It counts for
    /// its connection only.
    #[serde(rename = "logged")]
    BufferedWrite {
        /// The socket.
        socket: Socket,
        /// How much of it was taken.
        bytes: u64,
        /// Bytes asked for, where known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        requested: Option<u64>,
        /// The entry that begins in it, if one does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entry: Option<EntryHead>,
        /// The connection after it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tcp: Option<Tcp>,
    },
    /// Buffering ends: the totals of it. The buffered events of requests under way follow.
    #[serde(rename = "resumed")]
    BufferingEnded(BufferedTotals),
    /// The send queues of connections that the server has closed, when the trace ended.
    SendQueues {
        /// Those that there were.
        queues: Vec<SendQueue>,
    },
    /// The server's process ended. What was under way in it has ended with it.
    ServerEnded,
    /// Time passed.
    Tick,
    /// The trace ends. Last of every stream.
    End,
}

/// Counts of what happened while buffering.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferedTotals {
    /// Requests seen to be answered, or, where nobody can see that, to be audited.
    pub requests: u64,
    /// Whether there may have been more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
    /// Entries written to audit sockets.
    pub audit_writes: u64,
    /// Requests that were answered with 5xx, of those whose status could be read.
    #[serde(default, skip_serializing_if = "is_none")]
    pub failed: u64,
    /// Whether there were answers whose status could not be read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unread: bool,
    /// Records that were sent up although the kernel side was buffering.
    #[serde(default, rename = "told")]
    pub streamed: u64,
    /// Audit devices that were seen to take entries, as far as newest ones show.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub took: Vec<Device>,
    /// Goroutines whose requests `requests` includes, although their events follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counted: Vec<u64>,
}

/// What was known when the probes had been attached, and what the operator asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Of the recording: [`FORMAT`]. 0 is not written, since nobody wrote it then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub format: u32,
    /// Version of vault-tracer.
    pub version: String,
    /// How the agent was started, without what may be secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The traced server.
    pub pid: i32,
    /// Its executable.
    pub exe: String,
    /// `uname -r`.
    pub kernel: String,
    /// `uname -n`; `None` in recordings of before it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its Go version, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub go_version: Option<String>,
    /// When the probes were attached.
    pub began: Nanos,
    /// `CLOCK_REALTIME` - `CLOCK_MONOTONIC` when the session began, ns. Taken once: a clock step
    /// during the trace does not tear the trace apart.
    pub wall_offset: i64,
    /// What is attached.
    pub probes: Vec<Probe>,
    /// Audit devices named by the operator.
    #[serde(default)]
    pub declared: Vec<Device>,
    /// Stalls shorter than this are no hang, ns.
    pub threshold: Nanos,
    /// Whether the server's goroutines can be looked at.
    #[serde(default = "yes")]
    pub stacks: bool,
    /// Whether sinks have entries of which the stacks do not say whose they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_unknown_entries: bool,
    /// Where the server runs, by OpenTelemetry's names of resource attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resource: BTreeMap<String, String>,
}

/// Recordings of before the field could.
fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(format: &u32) -> bool {
    *format == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_none(number: &u64) -> bool {
    *number == 0
}

/// One attached probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The kernel's name of it.
    pub hook: String,
    /// How it is attached: `raw_tracepoint`, ...
    pub kind: String,
}

/// Whether a send with this result took all that it was given, as far as that is known.
pub fn took_all(result: i64, requested: Option<u64>) -> bool {
    u64::try_from(result).is_ok_and(|taken| requested.is_none_or(|wanted| taken >= wanted))
}

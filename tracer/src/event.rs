//! What happened, live or recorded: one type. Everything the core ever learns arrives as an
//! [`Event`], so a recording of them replays to the same report.
//!
//! Times are `CLOCK_MONOTONIC` nanoseconds, as the kernel took them.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use crate::{
    audit::entry::EntryHead,
    core::{EntryQuestion, parked::Parked},
};

/// Nanoseconds: of `CLOCK_MONOTONIC` where a point in time is meant.
pub type Nanos = u64;

/// One observation and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened.
    pub at: Nanos,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

impl Event {
    /// The socket that it is about, if it is about one.
    pub fn socket(&self) -> Option<&Socket> {
        match &self.what {
            What::Send { socket, .. }
            | What::Receive { socket, .. }
            | What::State { socket, .. }
            | What::Retransmit { socket }
            | What::WindowProbe { socket }
            | What::Reset { socket }
            | What::Drop { socket, .. }
            | What::SocketError { socket, .. }
            | What::ConnectFailed { socket, .. }
            | What::Logged { socket, .. } => Some(socket),
            _ => None,
        }
    }

    /// Who made the system call in which it happened, if one did.
    pub fn actor(&self) -> Option<Actor> {
        match &self.what {
            What::Send { by, .. } | What::Receive { by, .. } | What::ConnectFailed { by, .. } => {
                Some(*by)
            }
            What::State { by, .. } => *by,
            _ => None,
        }
    }
}

/// Everything that can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
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
        /// for what the peer does, whoever was interrupted.
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
    /// The server was started again, and the probes are attached to the new one.
    Restarted(Session),
    /// The answer to a question of the core: what the audit files hold of a request.
    EntryFound {
        /// Which question.
        asked: EntryQuestion,
        /// The entry, if there is exactly one request it can be of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entry: Option<EntryHead>,
    },
    /// The answer to a question of the core: which goroutines wait in the code of audit devices.
    Parked {
        /// Those that do.
        goroutines: Vec<Parked>,
    },
    /// Records that found the ring buffer full since the last such event.
    Lost {
        /// Kind of record.
        kind: String,
        /// How many.
        records: u64,
    },
    /// A write to an audit socket, of a request that is over, as its connection alone sees it: kept while
    /// all was routine.
    Logged {
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
    /// Routine was held back until now, and here is its sum. What belongs to requests under way follows.
    Resumed(Routine),
    /// What the send queues of connections that the server has closed held when the trace ended.
    SendQueues {
        /// Those that there were.
        queues: Vec<SendQueue>,
    },
    /// Time passed.
    Tick,
    /// The trace ends. Last of every stream.
    End,
}

/// What happened while routine was held back in the kernel, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routine {
    /// Requests seen to be answered, or, where nobody can see that, to be audited.
    pub requests: u64,
    /// Whether there may have been more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
    /// Entries written to audit sockets.
    pub audit_writes: u64,
    /// Records that were told all the same.
    #[serde(default)]
    pub told: u64,
    /// Goroutines whose requests are in the number already, though what they did is told singly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counted: Vec<u64>,
}

/// What was known when the probes had been attached, and what the operator asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Version of vault-tracer.
    pub version: String,
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
}

/// Recordings of before the field could.
fn yes() -> bool {
    true
}

/// One attached probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The kernel's name of it.
    pub hook: String,
    /// How it is attached: `raw_tracepoint`, ...
    pub kind: String,
}

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

/// TCP's own view of a connection at one moment. What this kernel does not tell is absent.
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

impl Tcp {
    /// Bytes sent and not acknowledged.
    pub fn unacked(&self) -> u32 {
        self.nxt.wrapping_sub(self.una)
    }

    /// Bytes written and not sent.
    pub fn unsent(&self) -> u32 {
        self.end.wrapping_sub(self.nxt)
    }

    /// Whether data waits that the peer's window has no room for: less than a segment is left of it.
    pub fn window_closed(&self) -> bool {
        let segment = self.mss.unwrap_or(1).max(1);
        let left = |window: u32| window.saturating_sub(self.unacked());
        self.unsent() > 0 && self.window.is_some_and(|window| left(window) < segment)
    }
}

/// What a connection's send queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendQueue {
    /// This end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// From the first byte that is not acknowledged on, the FIN included.
    pub bytes: u32,
}

/// Who made a system call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Thread id. Correlates nothing in Go: goroutines move between threads.
    pub tid: u32,
    /// `runtime.g.goid`, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goid: Option<u64>,
    /// `runtime.g.parentGoid`: the goroutine that started this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
}

/// Transport of a socket or an audit device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// UDP.
    Udp,
    /// Unix stream or datagram.
    Unix,
    /// A file, a FIFO, or standard output: an audit device without a socket.
    File,
    /// HTTP: an audit device whose sockets are not its own.
    Http,
    /// Syslog, where its socket is not known.
    Syslog,
}

impl Transport {
    /// Whether it is a socket, which the probes see, rather than a kind of device that only the code
    /// that waits for it tells.
    pub fn is_socket(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Unix)
    }

    /// As the trace and the terminal spell it.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Unix => "unix",
            Transport::File => "file",
            Transport::Http => "http",
            Transport::Syslog => "syslog",
        }
    }
}

/// An audit device, or what may turn out to be one: where a socket leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Device {
    /// How.
    pub transport: Transport,
    /// `10.0.0.2:1515`, `[fd00::2]:1515`, a path, `stdout`, or `https://log:8080`; empty if it is
    /// not known.
    pub address: String,
}

impl Device {
    /// Where this socket leads, if it leads anywhere yet.
    pub fn of(socket: &Socket) -> Option<Self> {
        let remote = socket.remote.map(spelled);
        Some(Self {
            transport: socket.transport,
            address: remote.or_else(|| socket.path.clone())?,
        })
    }

    /// A device as it is configured (`net.Dial`'s network and address, or
    /// [`crate::target::goroutines::Configured`]).
    pub fn configured(network: &str, address: &str) -> Self {
        let transport = match network {
            _ if network.starts_with("udp") => Transport::Udp,
            _ if network.starts_with("unix") => Transport::Unix,
            "file" => Transport::File,
            "http" => Transport::Http,
            "syslog" => Transport::Syslog,
            _ => Transport::Tcp,
        };
        let parsed = address.parse().map(|address| Self::tcp(address).address);
        Self {
            transport,
            address: parsed.unwrap_or_else(|_| address.to_owned()),
        }
    }

    /// Whether it says where it is, rather than a name to be looked up.
    pub fn is_address(&self) -> bool {
        match self.transport {
            Transport::Tcp | Transport::Udp => self.address.parse::<SocketAddr>().is_ok(),
            Transport::Unix | Transport::File | Transport::Http | Transport::Syslog => true,
        }
    }

    /// A TCP device.
    pub fn tcp(address: SocketAddr) -> Self {
        Self {
            transport: Transport::Tcp,
            address: SocketAddr::new(canonical(address.ip()), address.port()).to_string(),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.address {
            "" => f.write_str(self.transport.name()),
            address => write!(f, "{} {address}", self.transport.name()),
        }
    }
}

/// As `SocketAddr` spells itself, which takes several times as long for IPv4: most of what there is.
fn spelled(address: SocketAddr) -> String {
    let SocketAddr::V4(v4) = address else {
        return address.to_string();
    };
    let mut spelled = String::with_capacity("255.255.255.255:65535".len());
    for (place, octet) in v4.ip().octets().into_iter().enumerate() {
        if place > 0 {
            spelled.push('.');
        }
        push_number(&mut spelled, octet.into());
    }
    spelled.push(':');
    push_number(&mut spelled, v4.port());
    spelled
}

fn push_number(text: &mut String, number: u16) {
    if number >= 10 {
        push_number(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

/// Whether a send with this result took all that it was given, as far as that is known.
pub fn took_all(result: i64, requested: Option<u64>) -> bool {
    u64::try_from(result).is_ok_and(|taken| requested.is_none_or(|wanted| taken >= wanted))
}

/// IPv4 where an IPv6 socket carries IPv4.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_address_is_spelt_as_the_standard_library_does(address in any::<SocketAddr>()) {
            prop_assert_eq!(spelled(address), address.to_string());
        }
    }

    #[test]
    fn zeros_are_spelt() {
        for address in ["0.0.0.0:0", "10.0.100.9:10", "255.255.255.255:65535"] {
            let parsed = address.parse().expect("an address");
            assert_eq!(spelled(parsed), address);
        }
    }
}

//! The wire between the kernel side and the agent: records in the ring buffer and values of maps.
//! `no_std`, `repr(C)`, no implicit padding; both sides are compiled from this file, and sizes are asserted below.
//!
//! All multi-byte fields are in the host's byte order, ports included.

/// Bytes of an audit entry's start that travel with a send. Measured offsets of `request.id` are
/// 141 (login) to 933 (Kubernetes auth); `operation` and `path` follow it closely.
pub const ENTRY_BYTES: usize = 2048;

/// Kind of a [`Record`]. The discriminants are the wire values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// A send returned. `value`: its result (bytes or `-errno`); `extra`: bytes asked for, or [`UNKNOWN`].
    Send = 0,
    /// The same, with the first bytes of what was sent: an [`EntryRecord`].
    Entry = 1,
    /// A receive returned 0 or more bytes. `value`: its result; `extra`: the first byte, or [`UNKNOWN`].
    Receive = 2,
    /// TCP state change: a [`StateRecord`]. `value`: old state << 8 | new state; `extra`: the
    /// socket's `sk_err`.
    State = 3,
    /// TCP retransmitted a segment. `value`: the TCP state.
    Retransmit = 4,
    /// A RST arrived for this socket.
    Reset = 5,
    /// The kernel dropped a packet of this socket. `value`: `enum skb_drop_reason`, or, where the kernel
    /// gives none, the address at which it did (negative, as all its addresses are); `extra`: the index
    /// of the interface it came in by, 0 for what this host sends.
    Drop = 6,
    /// The kernel reported an error on this socket. `value`: its `sk_err`; `extra`: its `sk_err_soft`.
    Error = 7,
    /// `connect()` failed at once. `value`: `-errno`.
    ConnectFailed = 8,
    /// TCP probes a window that the peer has closed, or a queue that this host cannot send.
    WindowProbe = 9,
    /// The server writes an error to its own log: a [`LogRecord`].
    LogLine = 10,
    /// An HTTP server refuses what the server sent on a connection of its own. `value`: bytes received; the record's `status`: of
    /// the answer.
    Rejected = 11,
}

/// Number of values of [`Kind`]: the size of the array of lost-record counters.
pub const KINDS: u32 = 12;

impl Kind {
    /// All kinds, in the order of their wire values.
    pub const ALL: [Kind; KINDS as usize] = [
        Kind::Send,
        Kind::Entry,
        Kind::Receive,
        Kind::State,
        Kind::Retransmit,
        Kind::Reset,
        Kind::Drop,
        Kind::Error,
        Kind::ConnectFailed,
        Kind::WindowProbe,
        Kind::LogLine,
        Kind::Rejected,
    ];

    /// The kind with this wire value, if there is one.
    pub fn from_wire(value: u16) -> Option<Self> {
        Self::ALL.get(usize::from(value)).copied()
    }
}

/// [`Record::extra`] where the number is not known.
pub const UNKNOWN: u64 = u64::MAX;

/// [`Record::flags`]: recorded in a thread of the traced process, in one of its system calls.
pub const IN_PROCESS: u16 = 1;

/// [`Record::flags`]: the socket was accepted by the traced server from a client.
pub const ACCEPTED: u16 = 2;

/// [`Record::flags`]: buffered in the kernel and not sent to the agent.
pub const BUFFERED: u16 = 4;

/// [`Record::flags`] of a buffered receive: its request was answered, or its connection ended, while the buffers were frozen.
pub const ANSWERED: u16 = 8;

/// The last records of a client's connection. Zeros where there was none yet.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Connection {
    /// The receive that began the request under way, or the last one.
    pub received: Record,
    /// The last send.
    pub sent: Record,
}

/// Index in the array of counters of buffered traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Count {
    /// Answers by the goroutine that read the request.
    Answers = 0,
    /// Sends to clients by goroutines that do not read the connection: HTTP/2, whose answers cannot be counted.
    Frames = 1,
    /// Entries that audit sockets took whole.
    Entries = 2,
    /// Goroutines that wrote entries and read no connection: in HTTP/2, one for each request.
    Streams = 3,
    /// Sockets in the table.
    Sockets = 4,
    /// Receives from clients.
    Receives = 5,
    /// Sends to other nodes of the cluster, on connections that they opened.
    Nodes = 6,
    /// Answers with a status of 500 or more, of those whose status can be read.
    FailedAnswers = 7,
    /// Answers whose status cannot be read: over TLS.
    UnreadAnswers = 8,
}

/// Number of values of [`Count`].
pub const COUNTS: u32 = 9;

/// One observation. Everything about the socket travels with each record, so that a lost record
/// costs one observation and not the meaning of those that follow.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Record {
    /// `CLOCK_MONOTONIC`, ns.
    pub time: u64,
    /// Kernel address of the `struct sock`. Addresses are reused: see `born`.
    pub sock: u64,
    /// `CLOCK_MONOTONIC` ns at which the programs first saw this socket: with `sock` its identity.
    pub born: u64,
    /// `runtime.g.goid` of the goroutine in whose system call this happened; 0 where unknown.
    pub goid: u64,
    /// `runtime.g.parentGoid` of that goroutine; 0 where unknown.
    pub parent_goid: u64,
    /// See [`Kind`].
    pub value: i64,
    /// See [`Kind`].
    pub extra: u64,
    /// A [`Kind`].
    pub kind: u16,
    /// [`IN_PROCESS`] | [`ACCEPTED`] | [`BUFFERED`].
    pub flags: u16,
    /// Thread id, 0 outside the traced process.
    pub tid: u32,
    /// File descriptor given to the system call; -1 where unknown.
    pub fd: i32,
    /// Status of an HTTP/1 answer that begins in this send to a client, or in this receive ([`Kind::Rejected`]); 0 where none was
    /// seen.
    pub status: u16,
    /// Explicit padding, zero.
    pub reserved: u16,
    /// The socket.
    pub name: Name,
}

/// Family, protocol and addresses of a socket.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Name {
    /// `AF_INET`, `AF_INET6`, `AF_UNIX`.
    pub family: u16,
    /// `IPPROTO_TCP`, `IPPROTO_UDP`; 0 for Unix sockets.
    pub protocol: u16,
    /// Local port, 0 where there is none (yet).
    pub local_port: u16,
    /// Remote port, 0 where there is none (yet).
    pub remote_port: u16,
    /// IPv4 in the first four bytes, or IPv6.
    pub local_addr: [u8; 16],
    /// IPv4 in the first four bytes, or IPv6.
    pub remote_addr: [u8; 16],
}

impl Name {
    /// No address is known.
    pub const NONE: Self = Self {
        family: 0,
        protocol: 0,
        local_port: 0,
        remote_port: 0,
        local_addr: [0; 16],
        remote_addr: [0; 16],
    };
}

/// Where a connection leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Destination {
    /// As [`Name::remote_addr`].
    pub address: [u8; 16],
    /// As [`Name::family`].
    pub family: u16,
    /// As [`Name::protocol`].
    pub protocol: u16,
    /// As [`Name::remote_port`].
    pub port: u16,
    /// Explicit padding, zero.
    pub reserved: u16,
}

impl Destination {
    /// Of a socket with this name. Only what has a port leads anywhere.
    #[inline(always)]
    pub const fn of(name: &Name) -> Self {
        Self {
            address: name.remote_addr,
            family: name.family,
            protocol: name.protocol,
            port: name.remote_port,
            reserved: 0,
        }
    }
}

/// Requests of HTTP that carry audit entries to one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct EntryRequest {
    /// Where they are sent.
    pub destination: Destination,
    /// How they begin: [`request_hash`](crate::protocol::request_hash).
    pub hash: u64,
}

/// TCP's view of a connection at one moment (`include/linux/tcp.h`, `include/net/inet_connection_sock.h`).
/// Fields that the kernel does not have are [`ABSENT`](crate::layout::ABSENT); if a sequence number is missing,
/// `present` is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Tcp {
    /// 1 if the other fields were read, else 0.
    pub present: u32,
    /// Sequence number of the first byte that is not acknowledged.
    pub snd_una: u32,
    /// Sequence number of the next byte to be sent.
    pub snd_nxt: u32,
    /// Sequence number behind the last byte that was written.
    pub write_seq: u32,
    /// The peer's window, bytes.
    pub snd_wnd: u32,
    /// Largest segment, bytes.
    pub mss_cache: u32,
    /// `sk_wmem_queued`: memory of the send queue, bytes.
    pub wmem_queued: u32,
    /// `sk_sndbuf`: its limit, bytes.
    pub sndbuf: u32,
    /// Smoothed round-trip time, 1/8 us.
    pub srtt_us: u32,
    /// Retransmission time-out, jiffies.
    pub rto: u32,
    /// Since the last ACK arrived, jiffies.
    pub ack_age: u32,
    /// Time-outs in a row without an ACK.
    pub retransmits: u32,
    /// Window probes without an answer.
    pub probes_out: u32,
    /// `sk_err_soft`: an ICMP error that TCP has not given up for.
    pub err_soft: u32,
}

/// A [`Record`] of [`Kind::State`] and the connection at that moment.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct StateRecord {
    /// The change.
    pub record: Record,
    /// The connection, for those that the server opened.
    pub tcp: Tcp,
}

/// Longest path of a Unix socket (`include/uapi/linux/un.h`), rounded up.
pub const UNIX_PATH: usize = 112;

/// A [`Record`] of [`Kind::Entry`], the connection after it, and the first bytes that were sent.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EntryRecord {
    /// The send.
    pub record: Record,
    /// The connection, for TCP.
    pub tcp: Tcp,
    /// Address of the peer of a Unix socket, from its first byte; zeros where it has none.
    pub path: [u8; UNIX_PATH],
    /// Valid bytes of `bytes`.
    pub len: u32,
    /// Explicit padding, zero.
    pub reserved: u32,
    /// Bytes behind `len` are left over from earlier records and must not be read.
    pub bytes: [u8; ENTRY_BYTES],
}

/// Bytes of a line of the server's log. One about three devices that failed in two ways each has 1,200.
pub const LOG_BYTES: usize = 2048;

/// A [`Record`] of [`Kind::LogLine`], without a socket, and the first bytes of the line.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct LogRecord {
    /// Who writes it, and when.
    pub record: Record,
    /// Valid bytes of `bytes`.
    pub len: u32,
    /// Explicit padding, zero.
    pub reserved: u32,
    /// Bytes behind `len` are left over from earlier records and must not be read.
    pub bytes: [u8; LOG_BYTES],
}

const _: () = assert!(size_of::<Name>() == 40);
const _: () = assert!(size_of::<Destination>() == 24);
const _: () = assert!(size_of::<EntryRequest>() == 32);
const _: () = assert!(size_of::<Record>() == 112);
const _: () = assert!(size_of::<Connection>() == 224);
const _: () = assert!(size_of::<Tcp>() == 56);
const _: () = assert!(size_of::<StateRecord>() == 112 + 56);
const _: () = assert!(size_of::<EntryRecord>() == 112 + 56 + UNIX_PATH + 8 + ENTRY_BYTES);
const _: () = assert!(size_of::<LogRecord>() == 112 + 8 + LOG_BYTES);

//! The wire between the kernel side and the agent: records in the ring buffer, and the facts the
//! agent hands to the programs before they load. `no_std`, `repr(C)`, no implicit padding; both
//! sides are compiled from this file, and the layout is asserted below.
//!
//! All multi-byte fields are in the host's byte order, ports included.

/// Bytes of an audit entry's start that travel with a send. Measured offsets of `request.id` are
/// 141 (login) to 933 (Kubernetes auth); `operation` and `path` follow it closely.
pub const ENTRY_BYTES: usize = 2048;

/// What a [`Record`] tells. The discriminants are the wire values.
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
}

/// How many values [`Kind`] has: the size of the array of lost-record counters.
pub const KINDS: u32 = 10;

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
    ];

    /// The kind with this wire value, if there is one.
    pub fn from_wire(value: u16) -> Option<Self> {
        Self::ALL.get(usize::from(value)).copied()
    }
}

/// [`Record::extra`] where the number is not known.
pub const UNKNOWN: u64 = u64::MAX;

/// Whether what was received begins with one of the TLS record types (RFC 8446, 5.1) that carry no request:
/// `change_cipher_spec`, `alert`, `handshake`.
#[expect(
    clippy::inline_always,
    reason = "a call within a program costs it stack"
)]
#[inline(always)]
pub const fn is_handshake(first_byte: u64) -> bool {
    matches!(first_byte, 0x14..=0x16)
}

/// [`Record::flags`]: recorded in a thread of the traced process, in one of its system calls.
pub const IN_PROCESS: u16 = 1;

/// [`Record::flags`]: the socket was accepted by the traced server from a client.
pub const ACCEPTED: u16 = 2;

/// [`Record::flags`]: kept in the kernel rather than sent, since it was routine.
pub const HELD: u16 = 4;

/// Everything is told.
pub const TELL: u32 = 0;

/// Routine is held back.
pub const HOLD: u32 = 1;

/// Something has failed: everything is told, and what was kept stays as it is until the agent has fetched it.
pub const FETCH: u32 = 2;

/// A socket that entries are written to: what goes well there is held back while routine is.
pub const AUDIT: u32 = 1;

/// A socket of the server's other business: nothing is told of it while routine is held back.
pub const OTHER: u32 = 2;

/// A goroutine that reads a client's connection.
pub const READS: u32 = 1;

/// One that does not, and writes entries.
pub const WRITES: u32 = 2;

/// The last of what went over a client's connection, kept while routine is held back and before. Zeros where
/// there was nothing yet.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Connection {
    /// What was received: of the request under way, or the last one.
    pub received: Record,
    /// What was sent.
    pub sent: Record,
}

/// What is counted while routine is held back: the index in its array of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Count {
    /// Answers by the goroutine that read the request.
    Answers = 0,
    /// Sends to clients by other goroutines than those that read: HTTP/2, whose answers nobody can count.
    Frames = 1,
    /// Whole entries taken by audit sockets.
    Entries = 2,
    /// Goroutines that wrote entries and read no connection: of HTTP/2, one for each request.
    Streams = 3,
    /// Sockets in the table, less those that were forgotten.
    Sockets = 4,
    /// Receives from clients.
    Receives = 5,
}

/// How many values [`Count`] has.
pub const COUNTS: u32 = 6;

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
    /// [`IN_PROCESS`] | [`ACCEPTED`] | [`HELD`].
    pub flags: u16,
    /// Thread id, 0 outside the traced process.
    pub tid: u32,
    /// File descriptor given to the system call; -1 where unknown.
    pub fd: i32,
    /// Status of an HTTP/1 answer that begins in this send to a client; 0 where none was seen.
    pub status: u16,
    /// Explicit padding, zero.
    pub reserved: u16,
    /// The socket.
    pub name: Name,
}

/// What a socket is called: what kind it is of, and what it connects.
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
    /// Nothing known.
    pub const NONE: Self = Self {
        family: 0,
        protocol: 0,
        local_port: 0,
        remote_port: 0,
        local_addr: [0; 16],
        remote_addr: [0; 16],
    };
}

/// TCP's view of a connection at one moment (`include/linux/tcp.h`, `include/net/inet_connection_sock.h`).
/// What the kernel does not have is [`ABSENT`]; of the sequence numbers all are there or `present` is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Tcp {
    /// 1 if this was taken.
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
    /// What follows `len` is left over from earlier records: never to be read.
    pub bytes: [u8; ENTRY_BYTES],
}

const _: () = assert!(size_of::<Name>() == 40);
const _: () = assert!(size_of::<Record>() == 112);
const _: () = assert!(size_of::<Connection>() == 224);
const _: () = assert!(size_of::<Tcp>() == 56);
const _: () = assert!(size_of::<StateRecord>() == 112 + 56);
const _: () = assert!(size_of::<EntryRecord>() == 112 + 56 + UNIX_PATH + 8 + ENTRY_BYTES);

/// An offset in a kernel structure that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Byte offsets of the kernel fields that the programs read, from the running kernel's BTF.
/// [`ABSENT`] fields are read as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct KernelLayout {
    /// `sock_common.skc_family`, u16.
    pub family: u32,
    /// `sock_common.skc_num`, u16, host order.
    pub num: u32,
    /// `sock_common.skc_dport`, u16, network order.
    pub dport: u32,
    /// `sock_common.skc_rcv_saddr`, 4 bytes.
    pub rcv_saddr: u32,
    /// `sock_common.skc_daddr`, 4 bytes.
    pub daddr: u32,
    /// `sock_common.skc_v6_rcv_saddr`, 16 bytes.
    pub v6_rcv_saddr: u32,
    /// `sock_common.skc_v6_daddr`, 16 bytes.
    pub v6_daddr: u32,
    /// `sock_common.skc_state`, u8.
    pub state: u32,
    /// `sock_common.skc_net`, pointer to `struct net`.
    pub net: u32,
    /// `sock.sk_protocol`, u16 (since Linux 5.6).
    pub protocol: u32,
    /// `sock.sk_err`, int.
    pub err: u32,
    /// `sock.sk_err_soft`, int.
    pub err_soft: u32,
    /// `sk_buff.sk`, pointer.
    pub skb_sk: u32,
    /// `net.ns.inum`, u32.
    pub net_inum: u32,
    /// `task_struct.files`, pointer.
    pub task_files: u32,
    /// `files_struct.fdt`, pointer.
    pub files_fdt: u32,
    /// `fdtable.max_fds`, unsigned int.
    pub fdt_max_fds: u32,
    /// `fdtable.fd`, pointer to an array of pointers.
    pub fdt_fd: u32,
    /// `file.f_inode`, pointer.
    pub file_inode: u32,
    /// `file.private_data`, pointer.
    pub file_private_data: u32,
    /// `inode.i_mode`, u16.
    pub inode_mode: u32,
    /// `socket.sk`, pointer.
    pub socket_sk: u32,
    /// `sk_buff.skb_iif`, int: interface a packet came in by.
    pub skb_iif: u32,
    /// `tcp_sock.snd_una`, u32.
    pub snd_una: u32,
    /// `tcp_sock.snd_nxt`, u32.
    pub snd_nxt: u32,
    /// `tcp_sock.write_seq`, u32.
    pub write_seq: u32,
    /// `tcp_sock.snd_wnd`, u32.
    pub snd_wnd: u32,
    /// `tcp_sock.mss_cache`, u32.
    pub mss_cache: u32,
    /// `tcp_sock.srtt_us`, u32.
    pub srtt_us: u32,
    /// `tcp_sock.rcv_tstamp`, u32, jiffies.
    pub rcv_tstamp: u32,
    /// `sock.sk_wmem_queued`, int.
    pub wmem_queued: u32,
    /// `sock.sk_sndbuf`, int.
    pub sndbuf: u32,
    /// `inet_connection_sock.icsk_rto`, u32, jiffies.
    pub rto: u32,
    /// `inet_connection_sock.icsk_retransmits`, u8.
    pub retransmits: u32,
    /// `inet_connection_sock.icsk_probes_out`, u8.
    pub probes_out: u32,
    /// Where the first of the fields that make a [`Tcp`] lies, and how many bytes they take from there to the end of
    /// the last; [`ABSENT`] and 0 where that is more than fits into `EntryRecord::bytes`.
    pub tcp_first: u32,
    /// See there.
    pub tcp_bytes: u32,
    /// `unix_sock.peer`, pointer to `struct sock`.
    pub unix_peer: u32,
    /// `unix_sock.addr`, pointer to `struct unix_address`.
    pub unix_addr: u32,
    /// `unix_address.name`, `struct sockaddr_un`.
    pub unix_address_name: u32,
    /// `task_struct.stack`, pointer.
    pub task_stack: u32,
    /// Size of `struct pt_regs`.
    pub pt_regs_size: u32,
    /// How many arguments `tcp_recvmsg` has: its result lies behind them.
    pub recvmsg_arguments: u32,
}

impl KernelLayout {
    /// Nothing known.
    pub const ABSENT: Self = Self {
        family: ABSENT,
        num: ABSENT,
        dport: ABSENT,
        rcv_saddr: ABSENT,
        daddr: ABSENT,
        v6_rcv_saddr: ABSENT,
        v6_daddr: ABSENT,
        state: ABSENT,
        net: ABSENT,
        protocol: ABSENT,
        err: ABSENT,
        err_soft: ABSENT,
        skb_sk: ABSENT,
        net_inum: ABSENT,
        task_files: ABSENT,
        files_fdt: ABSENT,
        fdt_max_fds: ABSENT,
        fdt_fd: ABSENT,
        file_inode: ABSENT,
        file_private_data: ABSENT,
        inode_mode: ABSENT,
        socket_sk: ABSENT,
        skb_iif: ABSENT,
        snd_una: ABSENT,
        snd_nxt: ABSENT,
        write_seq: ABSENT,
        snd_wnd: ABSENT,
        mss_cache: ABSENT,
        srtt_us: ABSENT,
        rcv_tstamp: ABSENT,
        wmem_queued: ABSENT,
        sndbuf: ABSENT,
        rto: ABSENT,
        retransmits: ABSENT,
        probes_out: ABSENT,
        tcp_first: ABSENT,
        tcp_bytes: 0,
        unix_peer: ABSENT,
        unix_addr: ABSENT,
        unix_address_name: ABSENT,
        task_stack: ABSENT,
        pt_regs_size: ABSENT,
        recvmsg_arguments: ABSENT,
    };
}

/// Byte offsets in Go's `runtime.g` (`runtime/runtime2.go`), [`ABSENT`] where unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct GoLayout {
    /// `g.goid`, u64.
    pub goid: u32,
    /// `g.parentGoid`, u64 (since Go 1.21).
    pub parent_goid: u32,
}

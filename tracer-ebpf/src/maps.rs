//! Maps and the facts handed in by the agent before load.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use tracer_ebpf::{
    abi::{COUNTS, Connection, Destination, EntryRecord, EntryRequest, KINDS, Name},
    capture::AuditSocket,
    layout::{ABSENT, GoLayout, KernelLayout},
};

/// Thread group id of the traced server: in the PID namespace of [`PID_NAMESPACE`], or else in the initial one.
#[unsafe(no_mangle)]
pub(crate) static TGID: Global<u32> = Global::new(0);

/// Device and inode number of the server's PID namespace; zeros where the agent is in the initial one and knows the
/// server by the PID that it has there.
#[unsafe(no_mangle)]
pub(crate) static PID_NAMESPACE: Global<[u64; 2]> = Global::new([0; 2]);

/// Inode number of the traced server's network namespace.
#[unsafe(no_mangle)]
pub(crate) static NETNS: Global<u32> = Global::new(0);

/// Offsets of kernel fields.
#[unsafe(no_mangle)]
pub(crate) static KERNEL: Global<KernelLayout> = Global::new(KernelLayout::ABSENT);

/// Offsets in `runtime.g`.
#[unsafe(no_mangle)]
pub(crate) static GO: Global<GoLayout> = Global::new(GoLayout {
    goid: ABSENT,
    parent_goid: ABSENT,
});

/// Whether the kernel has `bpf_task_pt_regs` (Linux 5.15): 1, or 0.
#[unsafe(no_mangle)]
pub(crate) static TASK_PT_REGS: Global<u32> = Global::new(0);

/// Slots of [`ENTRY_RING`] for each processor, a power of two.
#[unsafe(no_mangle)]
pub(crate) static SLOTS_PER_CPU: Global<u32> = Global::new(1);

/// 1 if each goroutine that writes entries and reads no connection is one request; 0 where the server writes entries
/// in goroutines of their own.
#[unsafe(no_mangle)]
pub(crate) static COUNT_STREAMS: Global<u32> = Global::new(0);

/// Records to the agent. 4 MiB hold about 1,800 audit entries or 32,000 other records: half a second of a loaded
/// server in `Mode::Stream`. The agent drains it many times a second.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// A `capture::Mode`. The agent sets it; the programs change it to `Frozen`.
#[map]
pub(crate) static CAPTURE_MODE: Array<u32> = Array::with_max_entries(1, 0);

/// Incremented by the agent at each change of [`ROLES`] or [`DESTINATIONS`].
#[map]
pub(crate) static ROLES_GENERATION: Array<u32> = Array::with_max_entries(1, 0);

/// A `capture::Role` by `Known::born`: the agent, which alone writes it, does not know addresses of sockets.
#[map]
pub(crate) static ROLES: LruHashMap<u64, u32> = LruHashMap::with_max_entries(1 << 12, 0);

/// A `capture::Role` by where sockets lead, for those that [`ROLES`] does not have: they may be gone before the agent knows of them.
#[map]
pub(crate) static DESTINATIONS: LruHashMap<Destination, u32> =
    LruHashMap::with_max_entries(1 << 12, 0);

/// Keys only: a socket that sends such a request is `capture::Role::Audit`. Of HTTP devices connections come and go, and may be
/// gone before the agent knows of them.
#[map]
pub(crate) static ENTRY_REQUESTS: LruHashMap<EntryRequest, u32> =
    LruHashMap::with_max_entries(1 << 10, 0);

/// The last receive and send of each client's connection. LRU, as [`SOCKETS`]. The agent sets its size.
#[map]
pub(crate) static CONNECTIONS: LruHashMap<u64, Connection> =
    LruHashMap::with_max_entries(1 << 14, 0);

/// Initial value for [`CONNECTIONS`]: too large for the stack.
#[map]
pub(crate) static ZERO_CONNECTION: Array<Connection> = Array::with_max_entries(1, 0);

/// The last entries that audit sockets took while buffering. Each processor writes to slots of its own in turn:
/// kernels before 5.12 have no atomic increment that returns its value. The agent sets its size.
#[map]
pub(crate) static ENTRY_RING: Array<EntryRecord> = Array::with_max_entries(1, 0);

/// Number of entries that each processor has written to [`ENTRY_RING`].
#[map]
pub(crate) static RING_HEAD: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// By `abi::Count`.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTS, 0);

/// `capture::READS_CONNECTION` or `WRITES_ENTRIES` by goroutine, to count each once.
#[map]
pub(crate) static GOROUTINE_ROLES: LruHashMap<u64, u32> = LruHashMap::with_max_entries(1 << 13, 0);

/// Records that found the ring buffer full, by kind.
#[map]
pub(crate) static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(KINDS, 0);

/// State of one of the traced server's sockets.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Known {
    /// `CLOCK_MONOTONIC` ns at which it was first seen.
    pub(crate) born: u64,
    pub(crate) audit: AuditSocket,
    /// 1 if a client opened it. Stored, since a socket that closes loses its port.
    pub(crate) accepted: u32,
    /// Its entry in [`ROLES`]. Stored, since a lookup for each entry costs more than all else that is read of the socket.
    pub(crate) role: u32,
    /// [`ROLES_GENERATION`] at that lookup.
    pub(crate) role_generation: u32,
    /// `Sock::leads_to` of what is no TCP connection, else 0: no probe shows its end, and another socket may get its address.
    pub(crate) leads_to: u32,
    /// Addresses of a TCP connection, once both ports are known. Else zeros.
    pub(crate) name: Name,
}

/// Sockets of the traced server, by kernel address. Packets are handled outside of the process, so only
/// this table says which belong to it. LRU: a server with more open connections loses the
/// idle ones first.
#[map]
pub(crate) static SOCKETS: LruHashMap<u64, Known> = LruHashMap::with_max_entries(1 << 16, 0);

/// Arguments of a kernel function that has not returned yet.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct CallInProgress {
    /// Address of the `struct sock`.
    pub(crate) sock: u64,
    /// Bytes to be sent; 0 for other calls.
    pub(crate) size: u64,
}

/// By thread << 32 | function: stored by the probe at the entry for the probe at the return, which has no
/// arguments. LRU: a return that was missed leaves its entry behind.
#[map]
pub(crate) static CALLS: LruHashMap<u64, CallInProgress> = LruHashMap::with_max_entries(1 << 13, 0);

/// A `capture::Peers` by TCP port on which the server listens. The programs add ports, the agent decides.
#[map]
pub(crate) static LISTENING: HashMap<u16, u8> = HashMap::with_max_entries(1024, 0);

//! Maps and the facts handed in by the agent before load.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use tracer_ebpf::abi::{
    ABSENT, COUNTS, Connection, EntryRecord, GoLayout, KINDS, KernelLayout, Name,
};

/// Thread group id of the traced server, in the initial PID namespace.
#[unsafe(no_mangle)]
pub(crate) static TGID: Global<u32> = Global::new(0);

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

/// Slots of [`TANK`] for each processor, a power of two.
#[unsafe(no_mangle)]
pub(crate) static TANK_SHARE: Global<u32> = Global::new(1);

/// Whether requests that goroutines other than their connection's work on can be told by those that
/// write entries: 1, or 0 where sinks write them in goroutines of their own.
#[unsafe(no_mangle)]
pub(crate) static COUNT_STREAMS: Global<u32> = Global::new(0);

/// To the agent. 4 MiB hold about 1,800 audit entries or 32,000 other records: half a second of a loaded
/// server, all of which is told only while something stalls; the agent drains it many times a second.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// `abi::TELL` or `HOLD`, as the agent says; `FETCH`, until it does.
#[map]
pub(crate) static HOLD: Array<u32> = Array::with_max_entries(1, 0);

/// How often the agent has said what a socket is.
#[map]
pub(crate) static SAID: Array<u32> = Array::with_max_entries(1, 0);

/// What the server's own sockets are to the agent, by `Known::born`: `abi::AUDIT`, `abi::OTHER`, or not known yet.
/// Written by the agent alone, which does not know their addresses.
#[map]
pub(crate) static ROLES: LruHashMap<u64, u32> = LruHashMap::with_max_entries(1 << 12, 0);

/// The last of what went over each client's connection. LRU, as [`SOCKETS`]. The agent sets its size.
#[map]
pub(crate) static CONNECTIONS: LruHashMap<u64, Connection> =
    LruHashMap::with_max_entries(1 << 14, 0);

/// A connection of which nothing is known: what a new one begins as. Too large for the stack.
#[map]
pub(crate) static BLANK: Array<Connection> = Array::with_max_entries(1, 0);

/// The last entries that audit sockets took while routine was held back. Each processor writes to slots of
/// its own in turn, so that none needs what older kernels lack, an atomic counter that tells its value.
/// The agent sets its size.
#[map]
pub(crate) static TANK: Array<EntryRecord> = Array::with_max_entries(1, 0);

/// How many entries each processor has put into [`TANK`].
#[map]
pub(crate) static FILLED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// By `abi::Count`.
#[map]
pub(crate) static COUNTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTS, 0);

/// Goroutines that read connections or wrote entries, to count each once: `abi::READS`, `abi::WRITES`.
#[map]
pub(crate) static GOROUTINES: LruHashMap<u64, u32> = LruHashMap::with_max_entries(1 << 13, 0);

/// Records that found the ring buffer full, by kind.
#[map]
pub(crate) static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(KINDS, 0);

/// What is kept of one of the traced server's sockets.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Known {
    /// `CLOCK_MONOTONIC` ns at which it was first seen.
    pub(crate) born: u64,
    /// Of an audit socket: the last byte that was found acknowledged, u32.
    pub(crate) acknowledged: u64,
    /// Since when no more was, ns; as of the last entry.
    pub(crate) silent_since: u64,
    /// 1 if a client opened it. Kept here, since a socket that closes forgets its port.
    pub(crate) accepted: u32,
    /// Of an audit socket: 1 if it did not take all of what was written to it last.
    pub(crate) short: u32,
    /// What it is, as [`ROLES`] says: kept, since looking that up for each entry costs more than the rest that is
    /// asked of the socket.
    pub(crate) role: u32,
    /// [`SAID`] when that was looked up.
    pub(crate) role_as_of: u32,
    /// Of a TCP connection, once it has been used: it keeps its name. Else zeros.
    pub(crate) name: Name,
}

/// Sockets of the traced server, by kernel address. Packets are handled outside of the process, so
/// this table is what says whose they are. LRU: a server with more open connections loses the
/// idle ones first.
#[map]
pub(crate) static SOCKETS: LruHashMap<u64, Known> = LruHashMap::with_max_entries(1 << 16, 0);

/// A call of a kernel function that has not returned yet.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Call {
    /// The `struct sock` it is about.
    pub(crate) sock: u64,
    /// Bytes to be sent, where it sends.
    pub(crate) size: u64,
}

/// Calls seen by a probe at their entry, by thread << 32 | what is called, for the probe at their
/// return, which is not told the arguments. LRU: a return that was missed leaves its call behind.
#[map]
pub(crate) static CALLS: LruHashMap<u64, Call> = LruHashMap::with_max_entries(1 << 13, 0);

/// TCP ports on which the server listens: connections on them are its clients'.
#[map]
pub(crate) static LISTENING: HashMap<u16, u8> = HashMap::with_max_entries(1024, 0);

//! Maps and the facts handed in by the agent before load.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use tracer_ebpf::abi::{ABSENT, GoLayout, KINDS, KernelLayout};

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

/// To the agent. 16 MiB hold about 7,000 audit entries or 130,000 other records: several seconds
/// of a loaded server, where the agent drains it many times a second.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// Records that found the ring buffer full, by kind.
#[map]
pub(crate) static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(KINDS, 0);

/// One of the traced server's sockets.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Known {
    /// `CLOCK_MONOTONIC` ns at which it was first seen.
    pub(crate) born: u64,
    /// 1 if a client opened it. Kept here, since a socket that closes forgets its port.
    pub(crate) accepted: u64,
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

//! Records into the ring buffer: reserve and fill, or count the loss.

use aya_ebpf::helpers::{bpf_ktime_get_ns, generated::bpf_probe_read_user as read_user_raw};
use tracer_ebpf::abi::{
    ACCEPTED, ENTRY_BYTES, EntryRecord, IN_PROCESS, Kind, Record, StateRecord, Tcp, UNIX_PATH,
};

use crate::{
    go,
    kernel::{AF_UNIX, Destination, Sock, tid},
    maps::{EVENTS, Known, LOST},
    regs::Regs,
    sockets,
};

/// Whether the agent is woken for a record at once. Routine records wait for the agent's next
/// look, a few times a second: a wake-up per record would cost the server more than the record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    Now,
    Later,
}

impl Wake {
    #[inline(always)]
    fn flags(self) -> u64 {
        match self {
            Wake::Now => 2,   // BPF_RB_FORCE_WAKEUP
            Wake::Later => 1, // BPF_RB_NO_WAKEUP
        }
    }
}

/// What a probe has to say, beside what the socket and the running thread say themselves.
#[derive(Clone, Copy)]
pub(crate) struct Report {
    pub(crate) kind: Kind,
    pub(crate) value: i64,
    pub(crate) extra: u64,
    /// Of an answer to a client, else 0.
    pub(crate) status: u16,
    /// The system call in which it happened; `None` for what happens to packets.
    pub(crate) regs: Option<Regs>,
    pub(crate) wake: Wake,
}

#[inline(always)]
fn describe(sk: Sock, known: Known, report: &Report) -> Record {
    let (goid, parent_goid) = report.regs.map_or((0, 0), go::goroutine);
    let (local_addr, remote_addr) = sk.addresses();
    let in_process = report.regs.is_some();
    Record {
        // SAFETY: no arguments.
        time: unsafe { bpf_ktime_get_ns() },
        sock: sk.0,
        born: known.born,
        goid,
        parent_goid,
        value: report.value,
        extra: report.extra,
        kind: report.kind as u16,
        flags: if in_process { IN_PROCESS } else { 0 }
            | if known.accepted != 0 { ACCEPTED } else { 0 },
        tid: if in_process { tid() } else { 0 },
        fd: report.regs.map_or(-1, |r| r.arg(0) as i32),
        family: sk.family(),
        protocol: sk.protocol(),
        local_port: sk.local_port(),
        remote_port: sk.remote_port(),
        status: report.status,
        reserved: 0,
        local_addr,
        remote_addr,
    }
}

#[inline(always)]
fn count_loss(kind: Kind) {
    if let Some(lost) = LOST.get_ptr_mut(kind as u32) {
        // SAFETY: a valid slot of this CPU's array; programs are not preempted by each other here,
        // and a lost increment under nesting would only miscount a loss.
        unsafe { *lost += 1 };
    }
}

/// Sends a record about a socket that is the server's for sure: unknown ones become known.
#[inline(always)]
pub(crate) fn about(sk: Sock, report: &Report) {
    send(sk, sockets::known_or_new(sk), report);
}

/// Sends a record about a socket if it is known as the server's.
#[inline(always)]
pub(crate) fn about_known(sk: Sock, report: &Report) {
    if let Some(known) = sockets::known(sk) {
        send(sk, known, report);
    }
}

#[inline(always)]
fn send(sk: Sock, known: Known, report: &Report) {
    let Some(mut slot) = EVENTS.reserve::<Record>(0) else {
        return count_loss(report.kind);
    };
    slot.write(describe(sk, known, report));
    slot.submit(report.wake.flags());
}

/// Sends a record about a connect that failed: the socket itself does not know yet where it leads.
#[inline(always)]
pub(crate) fn connect(sk: Sock, report: &Report, to: &Destination) {
    let known = sockets::known_or_new(sk);
    let Some(mut slot) = EVENTS.reserve::<Record>(0) else {
        return count_loss(report.kind);
    };
    slot.write(describe(sk, known, report));
    if to.port != 0 {
        let record = slot.as_mut_ptr();
        // SAFETY: `record` points to the slot that has just been written.
        unsafe {
            (&raw mut (*record).remote_port).write(to.port);
            (&raw mut (*record).remote_addr).write(to.address);
        }
    }
    slot.submit(report.wake.flags());
}

/// Sends a change of state, with the connection at that moment where the server opened it.
#[inline(always)]
pub(crate) fn state(sk: Sock, report: &Report) {
    let Some(known) = sockets::known(sk) else {
        return;
    };
    let Some(mut slot) = EVENTS.reserve::<StateRecord>(0) else {
        return count_loss(report.kind);
    };
    let entry = slot.as_mut_ptr();
    // SAFETY: `entry` points to a reserved slot of this type. In two pieces: the 512 bytes of stack
    // are for a program and what it calls together.
    unsafe {
        (&raw mut (*entry).record).write(describe(sk, known, report));
        (&raw mut (*entry).tcp).write(if known.accepted == 0 {
            sk.tcp()
        } else {
            Tcp::default()
        });
    }
    slot.submit(report.wake.flags());
}

/// Sends a record with the first bytes of the user buffer at `buffer`.
#[inline(always)]
pub(crate) fn with_bytes(sk: Sock, report: &Report, buffer: u64, len: u64) {
    let known = sockets::known_or_new(sk);
    let Some(mut slot) = EVENTS.reserve::<EntryRecord>(0) else {
        return count_loss(report.kind);
    };
    let len = len.min(ENTRY_BYTES as u64) as u32;
    let entry = slot.as_mut_ptr();
    // SAFETY: `entry` points to a reserved slot of this type; the helper writes at most
    // `ENTRY_BYTES` bytes into its `bytes`, and checks the user address itself.
    unsafe {
        (&raw mut (*entry).record).write(describe(sk, known, report));
        (&raw mut (*entry).tcp).write(sk.tcp());
        (&raw mut (*entry).path).write([0; UNIX_PATH]);
        if sk.family() == AF_UNIX {
            sk.unix_path(&mut (*entry).path);
        }
        let failed = read_user_raw((&raw mut (*entry).bytes).cast(), len, buffer as *const _) != 0;
        (&raw mut (*entry).len).write(if failed { 0 } else { len });
        (&raw mut (*entry).reserved).write(0);
    }
    slot.submit(report.wake.flags());
}

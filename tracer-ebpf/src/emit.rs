//! Records into the ring buffer: reserve and fill, or count the loss.

use aya_ebpf::helpers::{bpf_ktime_get_ns, generated::bpf_probe_read_user as read_user_raw};
use tracer_ebpf::{
    abi::{
        ACCEPTED, ENTRY_BYTES, EntryRecord, IN_PROCESS, Kind, Name, Record, StateRecord, Tcp,
        UNIX_PATH,
    },
    capture::Mode,
    state_change::StateChange,
};

use crate::{
    go,
    kernel::{AF_UNIX, Sock, tid},
    maps::{EVENTS, LOST},
    mode,
    regs::Regs,
    sockets::Socket,
};

/// Whether the agent is woken for a record at once. Other records wait for the agent's next
/// poll, many times a second: a wake-up per record would cost the server more than the record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    Now,
    Later,
}

impl Wake {
    #[inline(always)]
    pub(crate) fn flags(self) -> u64 {
        match self {
            Wake::Now => 2,   // BPF_RB_FORCE_WAKEUP
            Wake::Later => 1, // BPF_RB_NO_WAKEUP
        }
    }
}

/// The part of a record that a probe provides: the rest is read from the socket and the running thread.
#[derive(Clone, Copy)]
pub(crate) struct Report {
    pub(crate) kind: Kind,
    pub(crate) value: i64,
    pub(crate) extra: u64,
    /// Status of an answer to a client, else 0.
    pub(crate) status: u16,
    /// Of the system call in which it happened. No `Option`: its value would be left uninitialised where there is none, and
    /// verifiers before Linux 6.3 refuse a program that moves it.
    pub(crate) regs: Regs,
    /// Whether it happened in a system call, rather than to packets.
    pub(crate) in_process: bool,
    pub(crate) wake: Wake,
}

/// Fills a reserved record, in place and field by field: a program has 512 bytes of stack.
///
/// # Safety
///
/// `to` must be valid for writes.
#[inline(always)]
pub(crate) unsafe fn describe(to: *mut Record, socket: Socket, report: &Report) {
    let (goid, parent_goid) = go::goroutine(report.regs);
    let in_process = report.in_process;
    // SAFETY: by the caller's word; no arguments for the clock.
    unsafe {
        (&raw mut (*to).time).write(bpf_ktime_get_ns());
        (&raw mut (*to).sock).write(socket.sk.0);
        (&raw mut (*to).born).write(socket.born());
        (&raw mut (*to).goid).write(goid);
        (&raw mut (*to).parent_goid).write(parent_goid);
        (&raw mut (*to).value).write(report.value);
        (&raw mut (*to).extra).write(report.extra);
        (&raw mut (*to).kind).write(report.kind as u16);
        (&raw mut (*to).flags).write(
            if in_process { IN_PROCESS } else { 0 }
                | if socket.is_clients() { ACCEPTED } else { 0 },
        );
        (&raw mut (*to).tid).write(if in_process { tid() } else { 0 });
        let fd = if in_process {
            report.regs.arg(0) as i32
        } else {
            -1
        };
        (&raw mut (*to).fd).write(fd);
        (&raw mut (*to).status).write(report.status);
        (&raw mut (*to).reserved).write(0);
        socket.name(&raw mut (*to).name);
    }
}

#[inline(always)]
pub(crate) fn count_loss(kind: Kind) {
    if let Some(lost) = LOST.get_ptr_mut(kind as u32) {
        // SAFETY: a valid slot of this CPU's array; programs are not preempted by each other here,
        // and a lost increment under nesting would only miscount a loss.
        unsafe { *lost += 1 };
    }
}

/// Sends a record about a socket if it is known as the server's and not ignored while buffering.
#[inline(always)]
pub(crate) fn about_known(sk: Sock, report: &Report) {
    if let Some(socket) = Socket::find(sk)
        && !(mode::current() == Mode::Buffer && socket.is_ignored())
    {
        about(socket, report);
    }
}

/// Whether a RST that comes now harms nobody, and is left out while buffering: it answers the end of a connection with TLS.
/// `old`: the TCP state before.
#[inline(always)]
pub(crate) fn is_harmless_reset(sk: Sock, old: i32) -> bool {
    mode::current() == Mode::Buffer
        && Socket::find(sk).is_some_and(|socket| {
            let change = StateChange::by_reset(socket.is_tls(), old, sk.outstanding());
            !socket.is_clients() && change.is_harmless_reset()
        })
}

/// Sends a record about a socket.
#[inline(always)]
pub(crate) fn about(socket: Socket, report: &Report) {
    let Some(mut slot) = EVENTS.reserve::<Record>(0) else {
        return count_loss(report.kind);
    };
    // SAFETY: it points to a reserved slot of this type.
    unsafe { describe(slot.as_mut_ptr(), socket, report) };
    slot.submit(report.wake.flags());
}

/// Sends a record about a connect that failed, with the `struct sockaddr *` that the process gave: the
/// socket itself does not have the remote address yet.
#[inline(always)]
pub(crate) fn connect(socket: Socket, report: &Report, name: Name) {
    let Some(mut slot) = EVENTS.reserve::<Record>(0) else {
        return count_loss(report.kind);
    };
    let record = slot.as_mut_ptr();
    // SAFETY: `record` points to a reserved slot of this type.
    unsafe {
        describe(record, socket, report);
        (&raw mut (*record).name).write(name);
    }
    slot.submit(report.wake.flags());
}

/// Sends a change of state, with the connection at that moment where the server opened it.
#[inline(always)]
pub(crate) fn state(sk: Sock, report: &Report) {
    let Some(socket) = Socket::find(sk) else {
        return;
    };
    let is_buffering = mode::current() == Mode::Buffer;
    if is_buffering && socket.is_ignored() {
        return;
    }
    let Some(mut slot) = EVENTS.reserve::<StateRecord>(0) else {
        freeze_by(socket, report);
        return count_loss(report.kind);
    };
    let entry = slot.as_mut_ptr();
    // SAFETY: `entry` points to a reserved slot of this type. In two pieces: the 512 bytes of stack
    // are for a program and what it calls together.
    unsafe {
        describe(&raw mut (*entry).record, socket, report);
        (&raw mut (*entry).tcp).write(if socket.is_clients() {
            Tcp::default()
        } else {
            sk.tcp()
        });
    }
    // Last of all: what it compares would multiply the paths of what follows.
    let wake = if freeze_by(socket, report) && is_buffering {
        Wake::Later
    } else {
        report.wake
    };
    slot.submit(wake.flags());
}

/// Freezes the buffers if the change of state is a failure. Returns whether it is a usual one.
#[inline(always)]
fn freeze_by(socket: Socket, report: &Report) -> bool {
    let change = StateChange {
        accepted: socket.is_clients(),
        is_tls: socket.is_tls(),
        old: (report.value >> 8) as i32,
        new: (report.value & 0xff) as i32,
        errno: report.extra as i32,
        outstanding: socket.sk.outstanding(),
    };
    if change.freezes() {
        mode::freeze();
    }
    change.is_usual()
}

/// Sends a record with the first bytes of a user buffer: its address and length.
#[inline(always)]
pub(crate) fn with_bytes(socket: Socket, report: &Report, bytes: (u64, u64)) {
    let Some(mut slot) = EVENTS.reserve::<EntryRecord>(0) else {
        return count_loss(report.kind);
    };
    // SAFETY: it points to a reserved slot of this type.
    unsafe { describe_entry(slot.as_mut_ptr(), socket, report, bytes) };
    slot.submit(report.wake.flags());
}

/// Fills a record with the first bytes of the user buffer at `buffer`.
///
/// # Safety
///
/// `entry` must be valid for writes.
#[inline(always)]
pub(crate) unsafe fn describe_entry(
    entry: *mut EntryRecord,
    socket: Socket,
    report: &Report,
    (buffer, len): (u64, u64),
) {
    let within = |len: u64| len.min(ENTRY_BYTES as u64) as u32;
    // SAFETY: by the caller's word; the helper writes at most `ENTRY_BYTES` bytes into its `bytes`, and
    // checks the user address itself.
    unsafe {
        describe(&raw mut (*entry).record, socket, report);
        let tcp = socket.sk.tcp_by(&raw mut (*entry).bytes);
        (&raw mut (*entry).tcp).write(tcp);
        (&raw mut (*entry).path).write([0; UNIX_PATH]);
        if (*entry).record.name.family == AF_UNIX {
            socket.sk.unix_path(&mut (*entry).path);
        }
        // Bounded once more where it is used: verifiers before Linux 5.13 forget the bounds of a value that is
        // spilled to the stack.
        (&raw mut (*entry).len).write_volatile(within(len));
        let len = within(u64::from((&raw const (*entry).len).read_volatile()));
        let bytes = (&raw mut (*entry).bytes).cast();
        if read_user_raw(bytes, len, buffer as *const _) != 0 {
            (&raw mut (*entry).len).write(0);
        }
        (&raw mut (*entry).reserved).write(0);
    }
}

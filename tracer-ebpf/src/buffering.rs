//! Buffers of normal traffic (`capture::Mode::Buffer`): for each client's connection the last receive and send, for
//! audit sockets the last entries, and counters.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use tracer_ebpf::{
    abi::{BUFFERED, Count, KNOWN_GOROUTINES},
    capture::{
        ClientConnection, Mode, READS_CONNECTION, WRITES_ENTRIES, count_of_status,
        is_served_by_reader, ring_slot,
    },
    known_socket::{ClientCall, KnownSocket},
    protocol::{is_handshake, is_interim},
};

use crate::{
    emit::{self, Report},
    go,
    kernel::{Progress, now, tid},
    maps::{COUNT_STREAMS, COUNTERS, ENTRY_RING, GOROUTINE_ROLES, SLOTS_PER_CPU},
    mode::count,
    sockets::Socket,
};

/// What decisions about a client's connection depend on.
///
/// # Safety
///
/// `socket` must be valid.
#[inline(always)]
unsafe fn summary(socket: *const KnownSocket) -> ClientConnection {
    // SAFETY: by the caller's word.
    unsafe {
        let received = &raw const (*socket).received;
        let sent = &raw const (*socket).sent;
        ClientConnection {
            received_at: (*received).time,
            sent_at: (*sent).time,
            is_served_by_reader: is_served_by_reader(
                (*sent).goid,
                (*received).goid,
                (*received).parent_goid,
            ),
            is_handshake: is_handshake((*received).extra),
        }
    }
}

/// Fills the buffer of a call, in place and field by field, as [`emit::describe`] does.
///
/// # Safety
///
/// `to` must be valid for writes.
#[inline(always)]
unsafe fn describe(to: *mut ClientCall, mode: Mode, report: &Report) {
    let (goid, parent_goid) = go::goroutine(report.regs);
    // SAFETY: by the caller's word.
    unsafe {
        (&raw mut (*to).time).write(now());
        (&raw mut (*to).goid).write(goid);
        (&raw mut (*to).parent_goid).write(parent_goid);
        (&raw mut (*to).extra).write(report.extra);
        (&raw mut (*to).value).write(report.value as i32);
        (&raw mut (*to).tid).write(tid());
        (&raw mut (*to).fd).write(report.regs.arg(0) as i32);
        (&raw mut (*to).status).write(report.status);
        (&raw mut (*to).buffered).write(u16::from(mode == Mode::Buffer));
    }
}

/// Buffers the receive that begins a client's request.
#[inline(always)]
pub(crate) fn received(mode: Mode, socket: Socket, report: &Report) {
    if report.value == 0 || mode == Mode::Frozen {
        return;
    }
    if mode == Mode::Buffer {
        count(Count::Receives, 1);
    }
    let known = socket.known();
    // SAFETY: a valid value of the table, whose connection is served by one goroutine at a time.
    unsafe {
        if !summary(known).begins_request() {
            return;
        }
        socket.cache_name();
        let received = &raw mut (*known).received;
        let reader = (*received).goid;
        describe(received, mode, report);
        if (*received).goid != reader {
            let _ = GOROUTINE_ROLES.insert((*received).goid, READS_CONNECTION, 0);
        }
    }
}

/// Buffers the last send to a client.
#[inline(always)]
pub(crate) fn sent(mode: Mode, socket: Socket, report: &Report) {
    if mode == Mode::Frozen || is_interim(report.status) {
        return;
    }
    socket.cache_name();
    let known = socket.known();
    // SAFETY: as above.
    unsafe {
        let sent = &raw mut (*known).sent;
        let sent_at = (*sent).time;
        describe(sent, mode, report);
        if mode != Mode::Buffer {
            return;
        }
        let connection = ClientConnection {
            sent_at,
            ..summary(known)
        };
        if let Some(counter) = connection.count_of_send() {
            count(counter, 1);
            if let Some(counter) = count_of_status(counter, report.status) {
                count(counter, 1);
            }
        }
    }
}

/// Buffers an entry that an audit socket took whole. Who writes it works for a request, unless a client of HTTP does. Within TLS
/// it may be anything, and counts for nothing.
#[inline(always)]
pub(crate) fn entry(
    socket: Socket,
    report: &Report,
    (now, progress): (u64, Progress),
    bytes: (u64, u64),
) {
    let is_seen = !socket.is_tls();
    if is_seen {
        count(Count::Entries, 1);
    }
    let Some(slot) = next_slot().and_then(|slot| ENTRY_RING.get_ptr_mut(slot)) else {
        return;
    };
    // SAFETY: a valid slot of this processor's. If the thread moves to another processor while it fills the slot,
    // another program may write to it too: the agent decodes it like any bytes.
    let goid = unsafe {
        emit::describe_entry(slot, socket, report, (now, progress.tcp()), bytes);
        (*slot).record.flags |= BUFFERED;
        (*slot).record.goid
    };
    if is_seen && COUNT_STREAMS.load() != 0 && !socket.is_http() {
        count_stream(goid);
    }
}

/// Counts the goroutine if it has no role yet.
#[inline(always)]
fn count_stream(goid: u64) {
    let Some(counters) = COUNTERS.get_ptr_mut(0) else {
        return;
    };
    let at = goid as usize & (KNOWN_GOROUTINES - 1);
    // SAFETY: a valid slot of this processor's array.
    let known = unsafe { &raw mut (*counters).known_goroutines[at] };
    // SAFETY: as above.
    if unsafe { *known } == goid {
        return;
    }
    if GOROUTINE_ROLES.get_ptr(goid).is_none() {
        let _ = GOROUTINE_ROLES.insert(goid, WRITES_ENTRIES, 0);
        count(Count::Streams, 1);
    }
    // SAFETY: as above.
    unsafe { *known = goid };
}

#[inline(always)]
fn next_slot() -> Option<u32> {
    let counters = COUNTERS.get_ptr_mut(0)?;
    // SAFETY: a valid slot of this processor's array.
    let number = unsafe {
        let number = (*counters).ring_head;
        (*counters).ring_head = number + 1;
        number
    };
    // SAFETY: no arguments.
    let processor = unsafe { bpf_get_smp_processor_id() };
    Some(ring_slot(processor, number, SLOTS_PER_CPU.load()))
}

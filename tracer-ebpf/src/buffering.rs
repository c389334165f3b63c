//! Buffers of normal traffic (`capture::Mode::Buffer`): for each client's connection the last receive and send, for
//! audit sockets the last entries, and counters.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use tracer_ebpf::{
    abi::{ANSWERED, BUFFERED, Connection, Count},
    capture::{
        ClientConnection, Mode, READS_CONNECTION, WRITES_ENTRIES, count_of_status,
        is_served_by_reader, ring_slot,
    },
    protocol::{is_handshake, is_interim},
};

use crate::{
    connections,
    emit::{self, Report},
    maps::{COUNT_STREAMS, ENTRY_RING, GOROUTINE_ROLES, RING_HEAD, SLOTS_PER_CPU},
    mode::count,
    sockets::Socket,
};

#[inline(always)]
fn buffered_flag(mode: Mode) -> u16 {
    if mode == Mode::Buffer { BUFFERED } else { 0 }
}

/// What decisions about it depend on.
///
/// # Safety
///
/// `connection` must be valid.
#[inline(always)]
unsafe fn summary(connection: *const Connection) -> ClientConnection {
    // SAFETY: by the caller's word.
    unsafe {
        let received = &raw const (*connection).received;
        let sent = &raw const (*connection).sent;
        let is_answered = (*received).flags & ANSWERED != 0;
        ClientConnection {
            received_at: if is_answered { 0 } else { (*received).time },
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

/// Buffers the receive that begins a client's request.
#[inline(always)]
pub(crate) fn received(mode: Mode, socket: Socket, report: &Report) {
    if report.value == 0 || mode == Mode::Frozen {
        return;
    }
    if mode == Mode::Buffer {
        count(Count::Receives, 1);
    }
    let Some(connection) = connections::of(socket.sk) else {
        return;
    };
    // SAFETY: a valid value of the table, whose connection is served by one goroutine at a time.
    unsafe {
        if !summary(connection).begins_request() {
            return;
        }
        let received = &raw mut (*connection).received;
        let reader = (*received).goid;
        emit::describe(received, socket, report);
        (*received).flags |= buffered_flag(mode);
        if (*received).goid != reader {
            let _ = GOROUTINE_ROLES.insert((*received).goid, READS_CONNECTION, 0);
        }
    }
}

/// Buffers the last send to a client.
#[inline(always)]
pub(crate) fn sent(mode: Mode, socket: Socket, report: &Report) {
    if is_interim(report.status) {
        return;
    }
    if mode == Mode::Frozen {
        return connections::answered(socket.sk);
    }
    let Some(connection) = connections::of(socket.sk) else {
        return;
    };
    // SAFETY: as above.
    unsafe {
        let sent = &raw mut (*connection).sent;
        let sent_at = (*sent).time;
        emit::describe(sent, socket, report);
        (*sent).flags |= buffered_flag(mode);
        if mode != Mode::Buffer {
            return;
        }
        let connection = ClientConnection {
            sent_at,
            ..summary(connection)
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
pub(crate) fn entry(socket: Socket, report: &Report, bytes: (u64, u64)) {
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
        emit::describe_entry(slot, socket, report, bytes);
        (*slot).record.flags |= BUFFERED;
        (*slot).record.goid
    };
    let counts = is_seen && COUNT_STREAMS.load() != 0 && !socket.is_http();
    if counts && GOROUTINE_ROLES.get_ptr(goid).is_none() {
        let _ = GOROUTINE_ROLES.insert(goid, WRITES_ENTRIES, 0);
        count(Count::Streams, 1);
    }
}

#[inline(always)]
fn next_slot() -> Option<u32> {
    let head = RING_HEAD.get_ptr_mut(0)?;
    // SAFETY: a valid slot of this processor's array.
    let number = unsafe {
        let number = *head;
        *head = number + 1;
        number
    };
    // SAFETY: no arguments.
    let processor = unsafe { bpf_get_smp_processor_id() };
    Some(ring_slot(processor, number, SLOTS_PER_CPU.load()))
}

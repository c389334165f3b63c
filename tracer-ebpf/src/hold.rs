//! Routine is not told. While nothing stalls, what goes well is kept here: of each client's connection the
//! last request and answer, of audit sockets the last entries, of all of it the number. When something
//! does not go well, that is told; the agent then fetches what was kept, and has everything told.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use tracer_ebpf::abi::{self, Connection, Count, HELD, OTHER, READS, WRITES, is_handshake};

use crate::{
    emit::{self, Report},
    kernel::Sock,
    maps::{
        BLANK, CONNECTIONS, COUNT_STREAMS, COUNTED, FILLED, GOROUTINES, HOLD, TANK, TANK_SHARE,
    },
    sockets::Socket,
};

#[inline(always)]
fn mode() -> u32 {
    // SAFETY: plain data that the agent changes at any time.
    HOLD.get_ptr(0)
        .map_or(abi::TELL, |hold| unsafe { hold.read_volatile() })
}

/// Whether routine is held back.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    mode() == abi::HOLD
}

/// Something has failed, which ends routine: the agent is to find all as it is now.
#[inline(always)]
pub(crate) fn ends() {
    if is_on()
        && let Some(hold) = HOLD.get_ptr_mut(0)
    {
        // SAFETY: as above.
        unsafe { hold.write_volatile(abi::FETCH) };
    }
}

/// Whether what is kept may change.
#[inline(always)]
pub(crate) fn keeps() -> bool {
    mode() != abi::FETCH
}

/// Whether what happens to this socket is routine, whatever it is: clients come and go, and what becomes of
/// the server's other business holds up no audit entry.
#[inline(always)]
pub(crate) fn silences(socket: Socket) -> bool {
    is_on() && (socket.is_clients() || socket.role() == OTHER)
}

#[inline(always)]
pub(crate) fn count(what: Count, by: i64) {
    if let Some(counted) = COUNTED.get_ptr_mut(what as u32) {
        // SAFETY: a valid slot of this processor's array. An increment that is lost where programs
        // interrupt each other miscounts by one.
        unsafe { *counted = (*counted).wrapping_add(by as u64) };
    }
}

/// A client's connection; a new one is blank.
#[inline(always)]
fn connection(sk: Sock) -> Option<*mut Connection> {
    if let Some(known) = CONNECTIONS.get_ptr_mut(sk.0) {
        return Some(known);
    }
    let blank = BLANK.get(0)?;
    let _ = CONNECTIONS.insert(sk.0, blank, 0);
    CONNECTIONS.get_ptr_mut(sk.0)
}

#[inline(always)]
fn held() -> u16 {
    if is_on() { HELD } else { 0 }
}

/// Whether who sent last on this connection serves it, or has it read by a goroutine that it started (`net/http`,
/// `connReader.backgroundRead`). In HTTP/2 others write frames than read them.
///
/// # Safety
///
/// `connection` must be valid.
#[inline(always)]
unsafe fn is_served(connection: *const Connection) -> bool {
    // SAFETY: by the caller's word.
    unsafe {
        let writer = (*connection).sent.goid;
        writer == (*connection).received.goid || writer == (*connection).received.parent_goid
    }
}

/// Keeps what was received from a client: the beginning of a request rather than the rest, or, where several
/// are under way at once, the last of all.
#[inline(always)]
pub(crate) fn received(socket: Socket, report: &Report) {
    if report.value == 0 || !keeps() {
        return;
    }
    if is_on() {
        count(Count::Receives, 1);
    }
    let Some(connection) = connection(socket.sk) else {
        return;
    };
    // SAFETY: a valid value of the table, whose connection is served by one goroutine at a time.
    unsafe {
        let received = &raw mut (*connection).received;
        let (before, sent) = ((*received).time, (*connection).sent.time);
        let is_shared = sent != 0 && !is_served(connection);
        if before > sent && !is_shared && !is_handshake((*received).extra) {
            return;
        }
        let before = (*received).goid;
        emit::describe(received, socket, report);
        (*received).flags |= held();
        if (*received).goid != before {
            // It reads: what it writes is counted by its answers.
            let _ = GOROUTINES.insert((*received).goid, READS, 0);
        }
    }
}

/// Keeps what was sent to a client.
#[inline(always)]
pub(crate) fn sent(socket: Socket, report: &Report) {
    // `100 Continue` asks for the rest of the request.
    if !keeps() || (report.status != 0 && report.status < 200) {
        return;
    }
    let Some(connection) = connection(socket.sk) else {
        return;
    };
    // SAFETY: as above.
    unsafe {
        let asked = (*connection).received.time > (*connection).sent.time;
        let sent = &raw mut (*connection).sent;
        emit::describe(sent, socket, report);
        (*sent).flags |= held();
        if is_on() {
            if !is_served(connection) {
                count(Count::Frames, 1);
            } else if asked && !is_handshake((*connection).received.extra) {
                count(Count::Answers, 1);
            }
        }
    }
}

/// Keeps an entry that an audit socket took whole.
#[inline(always)]
pub(crate) fn entry(socket: Socket, report: &Report, bytes: (u64, u64)) {
    count(Count::Entries, 1);
    let Some(slot) = next_slot().and_then(|slot| TANK.get_ptr_mut(slot)) else {
        return;
    };
    // SAFETY: a valid slot, this processor's alone. A thread that is moved away while it fills one may find
    // another one at it: the agent takes what it reads there for what it is.
    let goid = unsafe {
        emit::describe_entry(slot, socket, report, bytes);
        (*slot).record.flags |= HELD;
        (*slot).record.goid
    };
    if COUNT_STREAMS.load() != 0 && GOROUTINES.get_ptr(goid).is_none() {
        let _ = GOROUTINES.insert(goid, WRITES, 0);
        count(Count::Streams, 1);
    }
}

/// The index of this processor's next slot.
#[inline(always)]
fn next_slot() -> Option<u32> {
    let filled = FILLED.get_ptr_mut(0)?;
    // SAFETY: a valid slot of this processor's array.
    let number = unsafe {
        let number = *filled;
        *filled = number + 1;
        number
    };
    let share = TANK_SHARE.load();
    // SAFETY: no arguments.
    let processor = unsafe { bpf_get_smp_processor_id() };
    Some(processor * share + (number as u32 & (share - 1)))
}

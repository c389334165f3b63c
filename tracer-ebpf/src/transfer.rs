//! What a send, a receive or a connect that returned tells, whichever probe saw it.

use aya_ebpf::helpers::bpf_probe_read_user;
use tracer_ebpf::abi::{AUDIT, Kind, OTHER, UNKNOWN};

use crate::{
    emit::{self, Report, Wake},
    hold,
    kernel::Sock,
    regs::{Call, Regs},
    sockets::Socket,
};

const EAGAIN: i64 = -11;
const EINPROGRESS: i64 = -115;

/// A send on one of the server's sockets returned `result`. How much was asked for is known of simple
/// calls only.
#[inline(always)]
pub(crate) fn sent(sk: Sock, regs: Regs, result: i64) {
    let requested = match regs.call() {
        Call::Write => regs.arg(2),
        _ => UNKNOWN,
    };
    sent_of(sk, regs, requested, result);
}

/// The same where the probe is told how much was asked for.
#[inline(always)]
pub(crate) fn sent_of(sk: Sock, regs: Regs, requested: u64, result: i64) {
    let buffer = match regs.call() {
        Call::Write => regs.arg(1),
        _ => 0,
    };
    let fell_short = result < 0 || (requested != UNKNOWN && (result as u64) < requested);
    let mut report = Report {
        kind: Kind::Send,
        value: result,
        extra: requested,
        status: 0,
        regs: Some(regs),
        wake: if fell_short { Wake::Now } else { Wake::Later },
    };
    let Some(socket) = Socket::find_or_register(sk) else {
        return;
    };
    // Answers to clients can be no audit entries; of them only the status is our business.
    if socket.is_clients() {
        report.status = status(buffer);
        hold::sent(socket, &report);
        if !hold::is_on() {
            emit::about(socket, &report);
        }
        return;
    }
    if buffer != 0 {
        report.kind = Kind::Entry;
    }
    if hold::is_on() {
        report.wake = Wake::Now;
        match socket.kept_role() {
            OTHER => return,
            AUDIT if socket.works(result, fell_short) && buffer != 0 => {
                return hold::entry(socket, &report, (buffer, requested));
            }
            _ if result < 0 && result != EAGAIN => hold::ends(),
            _ => {}
        }
    }
    if buffer == 0 {
        emit::about(socket, &report);
    } else {
        emit::with_bytes(socket, &report, (buffer, requested));
    }
}

/// The status of the HTTP/1 answer that begins at `buffer`: `HTTP/1.1 200 OK`. 0 if none does.
#[inline(always)]
fn status(buffer: u64) -> u16 {
    // SAFETY: the helper checks the address itself and fails on a bad one.
    let Ok(start) = (unsafe { bpf_probe_read_user(buffer as *const [u8; 12]) }) else {
        return 0;
    };
    if start[..7] != *b"HTTP/1." || start[8] != b' ' {
        return 0;
    }
    let digit = |at: usize| u16::from(start[at].wrapping_sub(b'0'));
    digit(9) * 100 + digit(10) * 10 + digit(11)
}

/// A receive returned. Only client connections matter, and of them what arrived (or their end).
#[inline(always)]
pub(crate) fn received(sk: Sock, regs: Regs, result: i64) {
    if result < 0 {
        return;
    }
    let Some(socket) = Socket::of_client(sk) else {
        return;
    };
    let report = Report {
        kind: Kind::Receive,
        value: result,
        extra: first_byte(regs, result),
        status: 0,
        regs: Some(regs),
        wake: Wake::Later,
    };
    hold::received(socket, &report);
    if !hold::is_on() {
        emit::about(socket, &report);
    }
}

/// The first byte that was received: it tells a TLS handshake from a request.
#[inline(always)]
fn first_byte(regs: Regs, received: i64) -> u64 {
    if received == 0 || regs.call() != Call::Read {
        return UNKNOWN;
    }
    // SAFETY: the helper checks the address itself and fails on a bad one.
    unsafe { bpf_probe_read_user(regs.arg(1) as *const u8) }.map_or(UNKNOWN, u64::from)
}

/// A connect returned. One that is under way or done is told by the socket's state changes.
#[inline(always)]
pub(crate) fn connect_returned(sk: Sock, regs: Regs, result: i64) {
    if result >= 0 || result == EINPROGRESS {
        return;
    }
    let report = Report {
        kind: Kind::ConnectFailed,
        value: result,
        extra: 0,
        status: 0,
        regs: Some(regs),
        wake: Wake::Now,
    };
    hold::ends();
    if let Some(socket) = Socket::find_or_register(sk) {
        emit::connect(socket, &report, regs.arg(1));
    }
}

//! Sends, receives and connects that returned, whichever probe saw them.

use aya_ebpf::helpers::bpf_probe_read_user;
use tracer_ebpf::{
    abi::{Kind, UNKNOWN},
    capture::{Disposition, Mode, Role, Takes, dispose_of_send},
    protocol::{
        STATUS_LINE, SendOutcome, begins_http_request, http_status, is_failed_connect,
        is_rejection, is_route_query,
    },
};

use crate::{
    buffering,
    emit::{self, Report, Wake},
    kernel::Sock,
    mode, read,
    regs::{Call, Regs},
    sockets::{Socket, role_at},
};

/// A send on one of the server's sockets returned `result`. The number of requested bytes is known for calls with
/// one buffer only.
#[inline(always)]
pub(crate) fn sent(sk: Sock, regs: Regs, result: i64) {
    let requested = match regs.call() {
        Call::Write => regs.arg(2),
        _ => UNKNOWN,
    };
    sent_of(sk, regs, requested, result);
}

/// The same where the probe has the number of requested bytes.
#[inline(always)]
pub(crate) fn sent_of(sk: Sock, regs: Regs, requested: u64, result: i64) {
    let buffer = match regs.call() {
        Call::Write => regs.arg(1),
        _ => 0,
    };
    let outcome = SendOutcome::of(result, requested);
    let mut report = Report {
        kind: Kind::Send,
        value: result,
        extra: requested,
        status: 0,
        regs,
        in_process: true,
        wake: match outcome {
            SendOutcome::Complete => Wake::Later,
            SendOutcome::Short | SendOutcome::Failed => Wake::Now,
        },
    };
    let Some(socket) = Socket::find_or_register(sk) else {
        return;
    };
    let mode = mode::current();
    // Answers to clients can be no audit entries; only their status is read.
    if socket.is_clients() {
        if result >= STATUS_LINE as i64 {
            report.status = http_status(&read::user(buffer));
        }
        buffering::sent(mode, socket, &report);
        if mode != Mode::Buffer {
            emit::about(socket, &report);
        }
        return;
    }
    let mut role = socket.cached_role();
    // Nor these, of a Unix listener.
    let is_answer = matches!(role, Role::Unknown) && sk.is_accepted_unix();
    if is_answer && mode == Mode::Buffer {
        return;
    }
    let has_bytes = buffer != 0 && !is_answer;
    if has_bytes {
        report.kind = Kind::Entry;
    }
    let mut begins_entry = false;
    if has_bytes && !matches!(role, Role::Other) {
        let start = read::user(buffer);
        let is_request = begins_http_request(&start);
        begins_entry = socket.begins_entry(is_request);
        role = socket.role_by_bytes(role, (start[0], is_request), buffer);
    }
    // In each mode: what follows a switch depends on it.
    let takes = match role {
        Role::Audit => socket.takes(outcome, result),
        Role::Unknown | Role::Device | Role::Other => Takes::Late,
    };
    if mode == Mode::Buffer {
        report.wake = Wake::Now;
        match dispose_of_send(role, outcome, has_bytes, takes) {
            Disposition::Discard => return,
            // The rest of one is counted by the sequence numbers of the next.
            Disposition::Buffer if !begins_entry => return,
            Disposition::Buffer => {
                return buffering::entry(socket, &report, (buffer, requested));
            }
            Disposition::Freeze => mode::freeze(),
            Disposition::Stream => {}
        }
    }
    if has_bytes {
        emit::with_bytes(socket, &report, (buffer, requested));
    } else {
        emit::about(socket, &report);
    }
}

/// A receive returned. Reported for clients' connections, if bytes or their end arrived.
#[inline(always)]
pub(crate) fn received(sk: Sock, regs: Regs, result: i64) {
    if result < 0 {
        return;
    }
    let Some(socket) = Socket::find_receiving(sk) else {
        return;
    };
    if !socket.is_clients() {
        return answered(socket, regs, result);
    }
    let report = Report {
        kind: Kind::Receive,
        value: result,
        extra: first_byte(regs, result),
        status: 0,
        regs,
        in_process: true,
        wake: Wake::Later,
    };
    let mode = mode::current();
    buffering::received(mode, socket, &report);
    if mode != Mode::Buffer {
        emit::about(socket, &report);
    }
}

/// A receive on a connection of the server's own: whether an HTTP server rejects the entry that it was sent.
#[inline(always)]
fn answered(socket: Socket, regs: Regs, result: i64) {
    // Of a shorter read, the rest of the buffer is an older answer's.
    let is_short = result < STATUS_LINE as i64;
    if !socket.is_http() || is_short || regs.call() != Call::Read {
        return;
    }
    let status = http_status(&read::user(regs.arg(1)));
    if !is_rejection(status) {
        return;
    }
    match socket.cached_role() {
        Role::Other => return,
        Role::Audit => mode::freeze(),
        Role::Unknown | Role::Device => {}
    }
    let report = Report {
        kind: Kind::Rejected,
        value: result,
        extra: 0,
        status,
        regs,
        in_process: true,
        wake: Wake::Now,
    };
    emit::about(socket, &report);
}

/// The first byte that was received: it distinguishes a TLS handshake from a request.
#[inline(always)]
fn first_byte(regs: Regs, received: i64) -> u64 {
    if received == 0 || regs.call() != Call::Read {
        return UNKNOWN;
    }
    // SAFETY: the helper checks the address itself and fails on a bad one.
    unsafe { bpf_probe_read_user(regs.arg(1) as *const u8) }.map_or(UNKNOWN, u64::from)
}

/// A connect returned. If it is under way or done, the socket's state changes report it.
#[inline(always)]
pub(crate) fn connect_returned(sk: Sock, regs: Regs, result: i64) {
    if !is_failed_connect(result) {
        return;
    }
    let Some(socket) = Socket::find_or_register(sk) else {
        return mode::freeze();
    };
    let name = socket.name_at(regs.arg(1));
    let is_ignored = mode::current() == Mode::Buffer && matches!(role_at(&name), Role::Other);
    if is_ignored || is_route_query(name.protocol, name.remote_port) {
        return;
    }
    let report = Report {
        kind: Kind::ConnectFailed,
        value: result,
        extra: 0,
        status: 0,
        regs,
        in_process: true,
        wake: Wake::Now,
    };
    mode::freeze();
    emit::connect(socket, &report, name);
}

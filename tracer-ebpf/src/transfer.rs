//! What a send, a receive or a connect that returned tells, whichever probe saw it.

use tracer_ebpf::abi::{Kind, UNKNOWN};

use crate::{
    emit::{self, Report, Wake},
    kernel::Sock,
    regs::{Call, Regs},
};

const EINPROGRESS: i64 = -115;

/// A send on one of the server's sockets returned `result`.
#[inline(always)]
pub(crate) fn sent(sk: Sock, regs: Regs, result: i64) {
    let (buffer, requested) = match regs.call() {
        Call::Write => (regs.arg(1), regs.arg(2)),
        _ => (0, UNKNOWN),
    };
    let fell_short = result < 0 || (requested != UNKNOWN && (result as u64) < requested);
    let mut report = Report {
        kind: Kind::Send,
        value: result,
        extra: requested,
        regs: Some(regs),
        wake: if fell_short { Wake::Now } else { Wake::Later },
    };
    // Answers to clients can be no audit entries, and are none of our business.
    if buffer == 0 || emit::accepted(sk.local_port()) {
        return emit::about(sk, &report);
    }
    report.kind = Kind::Entry;
    emit::with_bytes(sk, &report, buffer, requested);
}

/// A receive returned. Only client connections matter, and of them what arrived (or their end).
#[inline(always)]
pub(crate) fn received(sk: Sock, regs: Regs, result: i64) {
    if result < 0 || !emit::accepted(sk.local_port()) {
        return;
    }
    emit::about(
        sk,
        &Report {
            kind: Kind::Receive,
            value: result,
            extra: 0,
            regs: Some(regs),
            wake: Wake::Later,
        },
    );
}

/// A connect returned. One that is under way or done is told by the socket's state changes.
#[inline(always)]
pub(crate) fn connect_returned(sk: Sock, regs: Regs, result: i64) {
    if result >= 0 || result == EINPROGRESS {
        return;
    }
    emit::about(
        sk,
        &Report {
            kind: Kind::ConnectFailed,
            value: result,
            extra: 0,
            regs: Some(regs),
            wake: Wake::Now,
        },
    );
}

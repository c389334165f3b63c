//! Sends and receives, seen at the socket layer: other system calls of the host pay nothing.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use crate::transfer;
use crate::{
    kernel::{Sock, in_target},
    regs::Regs,
};

/// `TP_PROTO(struct sock *sk, int ret, int flags)` (`include/trace/events/sock.h`, Linux 6.3),
/// in the caller's context, after the send.
#[raw_tracepoint(tracepoint = "sock_send_length")]
fn sock_send_length(ctx: RawTracePointContext) -> i32 {
    if in_target() {
        transfer::sent(
            Sock(ctx.arg(0)),
            Regs::current(),
            i64::from(ctx.arg::<i32>(1)),
        );
    }
    0
}

/// `TP_PROTO(struct sock *sk, int ret, int flags)` (`include/trace/events/sock.h`, Linux 6.3).
#[raw_tracepoint(tracepoint = "sock_recv_length")]
fn sock_recv_length(ctx: RawTracePointContext) -> i32 {
    if in_target() {
        transfer::received(
            Sock(ctx.arg(0)),
            Regs::current(),
            i64::from(ctx.arg::<i32>(1)),
        );
    }
    0
}

//! Retransmits, resets and errors of the server's connections.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_ebpf::{abi::Kind, protocol::TCP_CLOSE_WAIT, state_change::EPIPE};

use crate::{
    emit::{self, Report, Wake},
    kernel::Sock,
    regs::Regs,
};

#[inline(always)]
pub(super) fn happened(sk: Sock, kind: Kind, value: i64, extra: u64) {
    emit::about_known(
        sk,
        &Report {
            kind,
            value,
            extra,
            status: 0,
            regs: Regs::NONE,
            in_process: false,
            wake: Wake::Later,
        },
    );
}

/// `TP_PROTO(const struct sock *sk, const struct sk_buff *skb)` (`include/trace/events/tcp.h`, Linux
/// 4.15; later kernels append arguments).
#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
fn tcp_retransmit_skb(ctx: RawTracePointContext) -> i32 {
    let sk = Sock(ctx.arg(0));
    happened(sk, Kind::Retransmit, i64::from(sk.state()), 0);
    0
}

/// `TP_PROTO(struct sock *sk)` (`include/trace/events/tcp.h`, Linux 4.16).
#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
fn tcp_receive_reset(ctx: RawTracePointContext) -> i32 {
    let sk = Sock(ctx.arg(0));
    if !emit::is_harmless_reset(sk, i32::from(sk.state())) {
        happened(sk, Kind::Reset, 0, 0);
    }
    0
}

/// `TP_PROTO(const struct sock *sk)` (`include/trace/events/sock.h`, Linux 5.14).
#[raw_tracepoint(tracepoint = "inet_sk_error_report")]
fn inet_sk_error_report(ctx: RawTracePointContext) -> i32 {
    failed(Sock(ctx.arg(0)));
    0
}

/// The kernel reports an error on this socket. One whose peer had closed it before is closed already.
#[inline(always)]
pub(super) fn failed(sk: Sock) {
    let errno = sk.err();
    if errno != EPIPE || !emit::is_harmless_reset(sk, TCP_CLOSE_WAIT) {
        happened(sk, Kind::Error, i64::from(errno), sk.err_soft() as u64);
    }
}

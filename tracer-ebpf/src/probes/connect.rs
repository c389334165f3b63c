//! The life of a TCP connection: opened, accepted, established, closed, gone.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use aya_log_ebpf::warn;
use tracer_ebpf::{
    abi::Kind,
    capture::Peers,
    protocol::{TCP_ESTABLISHED, TCP_LISTEN, TCP_SYN_RECV, TCP_SYN_SENT},
};

use crate::{
    emit::{self, Report, Wake},
    kernel::{AF_INET, AF_INET6, Sock, in_target},
    maps::{LISTENING, NETNS},
    regs::Regs,
    sockets,
};

/// `TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)`
/// (`include/trace/events/sock.h`, Linux 4.16), in process context for what the process does and in
/// softirq for what the peer does.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: RawTracePointContext) -> i32 {
    let sk = Sock(ctx.arg(0));
    if matches!(sk.family(), AF_INET | AF_INET6) {
        changed(&ctx, sk, ctx.arg(1), ctx.arg(2));
    }
    0
}

#[inline(always)]
fn changed(ctx: &RawTracePointContext, sk: Sock, old: i32, new: i32) {
    match new {
        // Only the process itself connects and listens.
        TCP_SYN_SENT if in_target() => {
            sockets::register(sk);
        }
        TCP_LISTEN if in_target() => {
            let undecided = Peers::Undecided as u8;
            if LISTENING.insert(sk.local_port(), undecided, 0).is_err() {
                warn!(
                    ctx,
                    "table of listening ports is full: port {} left out",
                    sk.local_port()
                );
            }
        }
        TCP_ESTABLISHED if old == TCP_SYN_RECV && accepted_by_target(sk) => {
            sockets::register(sk);
        }
        _ => {}
    }
    report(sk, old, new);
}

#[inline(always)]
fn accepted_by_target(sk: Sock) -> bool {
    sockets::listening(sk.local_port()) && sk.netns() == NETNS.load()
}

#[inline(always)]
fn report(sk: Sock, old: i32, new: i32) {
    let in_process = in_target();
    emit::state(
        sk,
        &Report {
            kind: Kind::State,
            value: i64::from(old << 8 | new),
            extra: sk.err() as u64,
            status: 0,
            // In a softirq these are the interrupted thread's; the agent, which knows which
            // changes only the process makes, takes them for no more than that.
            regs: if in_process {
                Regs::current()
            } else {
                Regs::NONE
            },
            in_process,
            wake: if sockets::listening(sk.local_port()) {
                Wake::Later
            } else {
                Wake::Now
            },
        },
    );
}

/// `TP_PROTO(struct sock *sk)` (`include/trace/events/tcp.h`, Linux 4.16).
#[raw_tracepoint(tracepoint = "tcp_destroy_sock")]
fn tcp_destroy_sock(ctx: RawTracePointContext) -> i32 {
    sockets::forget(Sock(ctx.arg(0)));
    0
}

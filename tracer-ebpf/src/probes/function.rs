//! Sends, receives, connects and packet events at the kernel's own functions: other system calls of the host pay nothing,
//! and sends without a `write` are seen. Two shells each: a program that the function's trampoline runs at its
//! exit (`fexit`, Linux 5.5: arguments and result at hand) and a pair of breakpoints (`kprobe`,
//! `kretprobe`: the arguments wait in `CALLS` for the result).

use aya_ebpf::{
    EbpfContext,
    helpers::bpf_get_current_pid_tgid,
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use tracer_ebpf::abi::Kind;

use super::retransmit::{failed, happened};
use crate::{
    kernel::{AF_INET, AF_INET6, Sock, in_target, recvmsg_result, socket_sock},
    maps::{CALLS, CallInProgress},
    regs::Regs,
    transfer,
};

/// `int tcp_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)` (`include/net/tcp.h`, Linux 4.1).
#[fexit(function = "tcp_sendmsg")]
fn tcp_sendmsg_exit(ctx: FExitContext) -> i32 {
    sent(Sock(ctx.arg(0)), ctx.arg(2), ctx.arg(3));
    0
}

/// `int udp_sendmsg(struct sock *sk, struct msghdr *msg, size_t len)` (`include/net/udp.h`). IPv6
/// sockets that send to IPv4 addresses pass through it too, on their way from `udpv6_sendmsg`.
#[fexit(function = "udp_sendmsg")]
fn udp_sendmsg_exit(ctx: FExitContext) -> i32 {
    let sk = Sock(ctx.arg(0));
    if sk.family() == AF_INET {
        sent(sk, ctx.arg(2), ctx.arg(3));
    }
    0
}

/// `int udpv6_sendmsg(struct sock *sk, struct msghdr *msg, size_t len)` (`net/ipv6/udp_impl.h`).
#[fexit(function = "udpv6_sendmsg")]
fn udpv6_sendmsg_exit(ctx: FExitContext) -> i32 {
    sent(Sock(ctx.arg(0)), ctx.arg(2), ctx.arg(3));
    0
}

/// `int unix_stream_sendmsg(struct socket *sock, struct msghdr *msg, size_t len)` (`net/unix/af_unix.c`).
#[fexit(function = "unix_stream_sendmsg")]
fn unix_stream_sendmsg_exit(ctx: FExitContext) -> i32 {
    sent(socket_sock(ctx.arg(0)), ctx.arg(2), ctx.arg(3));
    0
}

/// `int unix_dgram_sendmsg(struct socket *sock, struct msghdr *msg, size_t len)` (`net/unix/af_unix.c`).
#[fexit(function = "unix_dgram_sendmsg")]
fn unix_dgram_sendmsg_exit(ctx: FExitContext) -> i32 {
    sent(socket_sock(ctx.arg(0)), ctx.arg(2), ctx.arg(3));
    0
}

/// `int tcp_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, ..., int flags, int *addr_len)`
/// (`include/net/tcp.h`): with `int nonblock` before `flags` up to Linux 5.18.
#[fexit(function = "tcp_recvmsg")]
fn tcp_recvmsg_exit(ctx: FExitContext) -> i32 {
    if in_target() {
        let result = recvmsg_result(ctx.as_ptr() as u64);
        transfer::received(Sock(ctx.arg(0)), Regs::current(), result);
    }
    0
}

/// `int tcp_v4_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)` (`include/net/tcp.h`). IPv6
/// sockets that connect to IPv4 addresses pass through it too, on their way from `tcp_v6_connect`.
#[fexit(function = "tcp_v4_connect")]
fn tcp_v4_connect_exit(ctx: FExitContext) -> i32 {
    let sk = Sock(ctx.arg(0));
    if sk.family() == AF_INET {
        connected(sk, ctx.arg(3));
    }
    0
}

/// `int tcp_v6_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)` (`net/ipv6/tcp_ipv6.c`).
#[fexit(function = "tcp_v6_connect")]
fn tcp_v6_connect_exit(ctx: FExitContext) -> i32 {
    connected(Sock(ctx.arg(0)), ctx.arg(3));
    0
}

/// `int tcp_retransmit_skb(struct sock *sk, struct sk_buff *skb, int segs)` (`include/net/tcp.h`): also of segments that this
/// host then fails to send, but not of tail loss probes. `__tcp_retransmit_skb`, which has these too, is called within its file
/// only, and there compilers call a part of it (`.part.0`) instead: Debian's arm64 kernels have no retransmit that passes it.
#[fentry(function = "tcp_retransmit_skb")]
fn tcp_retransmit_entry(ctx: FEntryContext) -> i32 {
    retransmits(Sock(ctx.arg(0)));
    0
}

/// `void tcp_send_probe0(struct sock *sk)` (`include/net/tcp.h`).
#[fentry(function = "tcp_send_probe0")]
fn tcp_send_probe0_entry(ctx: FEntryContext) -> i32 {
    happened(Sock(ctx.arg(0)), Kind::WindowProbe, 0, 0);
    0
}

/// `static void sock_def_error_report(struct sock *sk)` (`net/core/sock.c`): what `sk->sk_error_report`
/// of inet sockets points to.
#[fentry(function = "sock_def_error_report")]
fn error_report_entry(ctx: FEntryContext) -> i32 {
    reports_error(Sock(ctx.arg(0)));
    0
}

/// The function in the key of `CALLS`: one can run within another.
#[derive(Clone, Copy)]
enum Called {
    Send = 0,
    Receive = 1,
    Connect = 2,
}

/// `tcp_sendmsg`, `udp_sendmsg`, `udpv6_sendmsg`, which have the same arguments. Where the last calls the
/// one before, the inner call takes the place of the outer one, and its return ends both.
#[kprobe]
fn enter_send(ctx: ProbeContext) -> u32 {
    entered(Called::Send, Sock(argument(&ctx, 0)), argument(&ctx, 2));
    0
}

/// `unix_stream_sendmsg`, `unix_dgram_sendmsg`.
#[kprobe]
fn enter_unix_send(ctx: ProbeContext) -> u32 {
    let sk = socket_sock(argument(&ctx, 0));
    entered(Called::Send, sk, argument(&ctx, 2));
    0
}

/// Of all sends.
#[kretprobe]
fn leave_send(ctx: RetProbeContext) -> u32 {
    if let Some(call) = left(Called::Send) {
        sent(Sock(call.sock), call.size, ctx.ret());
    }
    0
}

/// `tcp_recvmsg`.
#[kprobe]
fn enter_receive(ctx: ProbeContext) -> u32 {
    entered(Called::Receive, Sock(argument(&ctx, 0)), 0);
    0
}

/// `tcp_recvmsg`.
#[kretprobe]
fn leave_receive(ctx: RetProbeContext) -> u32 {
    if let Some(call) = left(Called::Receive) {
        let result = i64::from(ctx.ret::<i32>());
        transfer::received(Sock(call.sock), Regs::current(), result);
    }
    0
}

/// `tcp_v4_connect`, `tcp_v6_connect`; the latter may call the former.
#[kprobe]
fn enter_connect(ctx: ProbeContext) -> u32 {
    entered(Called::Connect, Sock(argument(&ctx, 0)), 0);
    0
}

/// `tcp_v4_connect`, `tcp_v6_connect`.
#[kretprobe]
fn leave_connect(ctx: RetProbeContext) -> u32 {
    if let Some(call) = left(Called::Connect) {
        connected(Sock(call.sock), ctx.ret());
    }
    0
}

/// `tcp_retransmit_skb`.
#[kprobe]
fn at_retransmit(ctx: ProbeContext) -> u32 {
    retransmits(Sock(argument(&ctx, 0)));
    0
}

/// `tcp_send_probe0`.
#[kprobe]
fn at_window_probe(ctx: ProbeContext) -> u32 {
    happened(Sock(argument(&ctx, 0)), Kind::WindowProbe, 0, 0);
    0
}

/// `sock_def_error_report`.
#[kprobe]
fn at_error_report(ctx: ProbeContext) -> u32 {
    reports_error(Sock(argument(&ctx, 0)));
    0
}

#[inline(always)]
fn argument(ctx: &ProbeContext, n: usize) -> u64 {
    ctx.arg(n).unwrap_or(0)
}

#[inline(always)]
fn key(called: Called) -> u64 {
    bpf_get_current_pid_tgid() << 32 | called as u64
}

#[inline(always)]
fn entered(called: Called, sk: Sock, size: u64) {
    if in_target() {
        // If there is no room for it, its return is not seen.
        let _ = CALLS.insert(key(called), CallInProgress { sock: sk.0, size }, 0);
    }
}

#[inline(always)]
fn left(called: Called) -> Option<CallInProgress> {
    if !in_target() {
        return None;
    }
    let key = key(called);
    // SAFETY: the value is plain data, copied at once.
    let call = CALLS.get_ptr(key).map(|call| unsafe { *call });
    let _ = CALLS.remove(key);
    call
}

#[inline(always)]
fn sent(sk: Sock, size: u64, result: i32) {
    if in_target() {
        transfer::sent_of(sk, Regs::current(), size, i64::from(result));
    }
}

#[inline(always)]
fn connected(sk: Sock, result: i32) {
    if in_target() {
        transfer::connect_returned(sk, Regs::current(), i64::from(result));
    }
}

#[inline(always)]
fn retransmits(sk: Sock) {
    happened(sk, Kind::Retransmit, i64::from(sk.state()), 0);
}

#[inline(always)]
fn reports_error(sk: Sock) {
    if matches!(sk.family(), AF_INET | AF_INET6) {
        failed(sk);
    }
}

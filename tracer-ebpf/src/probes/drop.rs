//! Packets of the server's connections that this host drops.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_ebpf::abi::Kind;

use crate::{
    emit::{self, Report, Wake},
    kernel::{skb_iif, skb_ports, skb_sock},
    regs::Regs,
};

/// `TP_PROTO(struct sk_buff *skb, void *location, enum skb_drop_reason reason)`
/// (`include/trace/events/skb.h`, Linux 5.17; later kernels append `struct sock *rx_sk`).
#[raw_tracepoint(tracepoint = "kfree_skb")]
fn kfree_skb(ctx: RawTracePointContext) -> i32 {
    dropped(ctx.arg(0), i64::from(ctx.arg::<u32>(2)));
    0
}

/// `TP_PROTO(struct sk_buff *skb, void *location)` (Linux up to 5.16): no reason but the place.
#[raw_tracepoint(tracepoint = "kfree_skb")]
fn kfree_skb_at(ctx: RawTracePointContext) -> i32 {
    dropped(ctx.arg(0), ctx.arg(1));
    0
}

#[inline(always)]
fn dropped(skb: u64, why: i64) {
    let Some(sk) = skb_sock(skb) else { return };
    emit::about_known(
        sk,
        &Report {
            kind: Kind::Drop,
            value: why,
            extra: u64::from(skb_ports(skb)) << 32 | u64::from(skb_iif(skb)),
            status: 0,
            regs: Regs::NONE,
            in_process: false,
            wake: Wake::Later,
        },
    );
}

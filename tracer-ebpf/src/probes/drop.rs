//! Packets of the server's connections that this very host drops.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_ebpf::abi::Kind;

use crate::{
    emit::{self, Report, Wake},
    kernel::{skb_iif, skb_sock},
};

/// `TP_PROTO(struct sk_buff *skb, void *location, enum skb_drop_reason reason)`
/// (`include/trace/events/skb.h`, Linux 5.17; later kernels append `struct sock *rx_sk`).
#[raw_tracepoint(tracepoint = "kfree_skb")]
fn kfree_skb(ctx: RawTracePointContext) -> i32 {
    if let Some(sk) = skb_sock(ctx.arg(0)) {
        emit::about_known(
            sk,
            &Report {
                kind: Kind::Drop,
                value: i64::from(ctx.arg::<u32>(2)),
                extra: u64::from(skb_iif(ctx.arg(0))),
                status: 0,
                regs: None,
                wake: Wake::Later,
            },
        );
    }
    0
}

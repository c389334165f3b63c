//! Sends, receives and connects where the socket-layer tracepoints are missing (before Linux 6.3) and
//! functions cannot be probed: every system call of the host then takes the kernel's slow path.

use aya_ebpf::{
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};

use crate::transfer;
use crate::{
    kernel::{fd_sock, in_target},
    regs::{Call, Regs},
};

/// `TP_PROTO(struct pt_regs *regs, long ret)` (`include/trace/events/syscalls.h`).
#[raw_tracepoint(tracepoint = "sys_exit")]
fn sys_exit(ctx: RawTracePointContext) -> i32 {
    if in_target() {
        returned(Regs::at(ctx.arg(0)), ctx.arg(1));
    }
    0
}

/// Offset of `ret` in what every `syscalls:sys_exit_*` hands over: a header of 8 bytes, `int
/// __syscall_nr`, 4 bytes of padding, `long ret` (`kernel/trace/trace_syscalls.c`, `events/syscalls/sys_exit_write/format`).
const RETURN: usize = 16;

/// One program for the exits of all system calls of interest: nothing runs for the others.
#[tracepoint]
fn syscall_exit(ctx: TracePointContext) -> u32 {
    if in_target() {
        // SAFETY: the helper checks the address itself.
        let result = unsafe { ctx.read_at::<i64>(RETURN) };
        returned(Regs::current(), result.unwrap_or(0));
    }
    0
}

#[inline(always)]
fn returned(regs: Regs, result: i64) {
    let call = regs.call();
    if call == Call::Other {
        return;
    }
    let Some(sk) = fd_sock(regs.arg(0) as u32) else {
        return;
    };
    match call {
        Call::Write | Call::WriteVector => transfer::sent(sk, regs, result),
        Call::Read | Call::ReadVector => transfer::received(sk, regs, result),
        Call::Connect => transfer::connect_returned(sk, regs, result),
        Call::Other => {}
    }
}

//! What the server writes to its own log: of an audit device that fails at once, often no system call shows that.

use aya_ebpf::{EbpfContext, macros::uprobe, programs::ProbeContext};

use crate::{kernel::in_target, log, regs::Regs};

/// `func (w *writer) Flush(level Level) error` of `hashicorp/go-hclog` (`writer.go`), which has the whole line. A breakpoint in
/// the server's own code, at this function's first instruction: no other process executes it.
#[uprobe]
fn log_flush(ctx: ProbeContext) -> u32 {
    if in_target() {
        let registers = ctx.as_ptr() as u64;
        log::flushed(Regs::at(registers), Regs::go_argument(registers));
    }
    0
}

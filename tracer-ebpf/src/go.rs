//! The only code that knows Go's structures: which goroutine is running.

use aya_ebpf::helpers::bpf_probe_read_user;
use tracer_ebpf::abi::ABSENT;

use crate::{maps::GO, regs::Regs};

/// `(goid, parentGoid)` of the goroutine that made the system call; zeros where unknown. Goid 0
/// also is what g0, the scheduler's own stack, bears: no goroutine in either case.
#[inline(always)]
pub(crate) fn goroutine(regs: Regs) -> (u64, u64) {
    let layout = GO.load();
    let g = regs.g();
    (word(g, layout.goid), word(g, layout.parent_goid))
}

#[inline(always)]
fn word(g: u64, offset: u32) -> u64 {
    if g == 0 || offset == ABSENT {
        return 0;
    }
    // SAFETY: the helper checks the address itself and fails on a bad one.
    unsafe { bpf_probe_read_user((g + u64::from(offset)) as *const u64) }.unwrap_or(0)
}

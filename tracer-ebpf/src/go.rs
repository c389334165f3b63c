//! The only code that knows Go's structures: which goroutine is running.

use tracer_ebpf::layout::ABSENT;

use crate::{maps::GO, read, regs::Regs};

/// `(goid, parentGoid)` of the goroutine that made the system call; zeros where unknown. The scheduler's own stack,
/// g0, has goid 0 too: no goroutine in either case.
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
    read::user(g + u64::from(offset))
}

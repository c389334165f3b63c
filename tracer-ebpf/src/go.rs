//! The only code that knows Go's structures: which goroutine is running.

use core::mem::MaybeUninit;

use tracer_ebpf::layout::{ABSENT, GoLayout};

use crate::{maps::GO, read, regs::Regs};

/// Most bytes between the two IDs for which one read takes both: 128 in Go 1.26, 120 in Go 1.21 to 1.25.
const REACH: u32 = 128;

/// `(goid, parentGoid)` of the goroutine that made the system call; zeros where unknown. The scheduler's own stack,
/// g0, has goid 0 too: no goroutine in either case.
#[inline(always)]
pub(crate) fn goroutine(regs: Regs) -> (u64, u64) {
    let GoLayout { goid, parent_goid } = GO.load();
    let g = regs.g();
    let distance = parent_goid.wrapping_sub(goid);
    if g == 0 || goid == ABSENT || parent_goid == ABSENT || distance > REACH {
        return (word(g, goid), word(g, parent_goid));
    }
    let mut words = MaybeUninit::<[u64; REACH as usize / 8 + 1]>::uninit();
    let first = words.as_mut_ptr().cast::<u64>();
    // SAFETY: the helper fills all of them; the second index was checked. A read of 136 bytes takes no longer than one of 8.
    unsafe {
        read::user_bytes(
            first.cast(),
            size_of_val(&words) as u32,
            g + u64::from(goid),
        );
        (first.read(), first.add((distance / 8) as usize).read())
    }
}

#[inline(always)]
fn word(g: u64, offset: u32) -> u64 {
    if g == 0 || offset == ABSENT {
        return 0;
    }
    read::user(g + u64::from(offset))
}

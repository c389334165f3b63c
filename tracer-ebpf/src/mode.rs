//! Capture mode as it is now (`capture::Mode`), and counters.

use tracer_ebpf::{abi::Count, capture::Mode};

use crate::maps::{CAPTURE_MODE, COUNTERS};

/// To be read once in a program: it may change at any time, and what is counted by one mode and sent by another is lost, or
/// counted twice.
#[inline(always)]
pub(crate) fn current() -> Mode {
    // SAFETY: plain data that the agent changes at any time.
    let mode = CAPTURE_MODE
        .get_ptr(0)
        .map(|mode| unsafe { mode.read_volatile() });
    Mode::from_wire(mode.unwrap_or(0))
}

/// Something failed: the buffers stay as they are.
#[inline(always)]
pub(crate) fn freeze() {
    if current() == Mode::Buffer
        && let Some(mode) = CAPTURE_MODE.get_ptr_mut(0)
    {
        // SAFETY: as above.
        unsafe { mode.write_volatile(Mode::Buffer.after_failure() as u32) };
    }
}

#[inline(always)]
pub(crate) fn count(what: Count, by: i64) {
    if let Some(counter) = COUNTERS.get_ptr_mut(what as u32) {
        // SAFETY: a valid slot of this processor's array. An increment that is lost where programs
        // interrupt each other miscounts by one.
        unsafe { *counter = (*counter).wrapping_add(by as u64) };
    }
}

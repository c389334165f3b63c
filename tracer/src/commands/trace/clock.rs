//! The clocks. Nobody else reads them.

use nix::{
    time::{ClockId, clock_gettime},
    unistd::{SysconfVar, sysconf},
};

use tracer_model::{Event, EventKind, Nanos};

/// `CLOCK_MONOTONIC`, the clock of the kernel's records, ns.
pub(in crate::commands) fn monotonic() -> Nanos {
    read(ClockId::CLOCK_MONOTONIC).unsigned_abs()
}

/// `CLOCK_REALTIME` - `CLOCK_MONOTONIC`, ns.
pub(in crate::commands) fn wall_offset() -> i64 {
    read(ClockId::CLOCK_REALTIME) - read(ClockId::CLOCK_MONOTONIC)
}

/// What this thread has used of a processor, ns: less than what has passed where others use it too.
pub(super) fn used_by_thread() -> Nanos {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID).unsigned_abs()
}

/// Since the boot, in clock ticks, as `/proc/PID/stat` has the start of a process.
pub(super) fn boot_ticks() -> u64 {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    let nanos = i128::from(read(ClockId::CLOCK_BOOTTIME));
    u64::try_from(nanos * i128::from(ticks) / 1_000_000_000).unwrap_or(0)
}

/// What happens at this moment.
pub(super) fn now(what: EventKind) -> Event {
    Event {
        at: monotonic(),
        what,
    }
}

fn read(clock: ClockId) -> i64 {
    // Fails only for clocks that do not exist.
    clock_gettime(clock).map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

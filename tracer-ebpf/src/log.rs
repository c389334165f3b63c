//! Lines of the server's own log.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use tracer_ebpf::{
    abi::{IN_PROCESS, Kind, LOG_BYTES, LogRecord, Name, Record},
    protocol::{LOG_START, is_audit_error},
};

use crate::{
    emit::{self, Wake},
    go,
    kernel::tid,
    maps::EVENTS,
    mode, read,
    regs::Regs,
};

/// Offsets in `hclog.writer`, which begins with a `bytes.Buffer`: a slice (pointer, length, capacity), and what of it has been
/// read.
const LINE: u64 = 0;
const LENGTH: u64 = 8;

/// The `*hclog.writer` at this address passes its line on.
#[inline(always)]
pub(crate) fn flushed(regs: Regs, writer: u64) {
    let line: u64 = read::user(writer + LINE);
    let start: [u8; LOG_START] = read::user(line);
    if !is_audit_error(&start) {
        return;
    }
    mode::freeze();
    let Some(mut slot) = EVENTS.reserve::<LogRecord>(0) else {
        return emit::count_loss(Kind::LogLine);
    };
    let length: u64 = read::user(writer + LENGTH);
    // SAFETY: it points to a reserved slot of this type.
    unsafe { describe(slot.as_mut_ptr(), regs, (line, length)) };
    slot.submit(Wake::Now.flags());
}

/// # Safety
///
/// `to` must be valid for writes.
#[inline(always)]
unsafe fn describe(to: *mut LogRecord, regs: Regs, (line, length): (u64, u64)) {
    let (goid, parent_goid) = go::goroutine(regs);
    let within = |len: u64| len.min(LOG_BYTES as u64) as u32;
    // SAFETY: by the caller's word; at most `LOG_BYTES` bytes are written to `bytes`.
    unsafe {
        (&raw mut (*to).record).write(Record {
            time: bpf_ktime_get_ns(),
            sock: 0,
            born: 0,
            goid,
            parent_goid,
            value: 0,
            extra: 0,
            kind: Kind::LogLine as u16,
            flags: IN_PROCESS,
            tid: tid(),
            fd: -1,
            status: 0,
            reserved: 0,
            name: Name::NONE,
        });
        // Bounded once more where it is used, as in `emit::describe_entry`.
        (&raw mut (*to).len).write_volatile(within(length));
        let len = within(u64::from((&raw const (*to).len).read_volatile()));
        if !read::user_bytes((&raw mut (*to).bytes).cast(), len, line) {
            (&raw mut (*to).len).write(0);
        }
        (&raw mut (*to).reserved).write(0);
    }
}

//! Where events come from: the kernel, or a recording of an earlier trace.

pub mod capture;
pub mod flight;
pub(crate) mod kernel_log;
pub(crate) mod listening;
pub(crate) mod readable;
pub mod recording;
pub(crate) mod ringbuf;

//! Where events come from: the kernel, or a recording of an earlier trace.

pub mod hold;
pub mod holding;
pub(crate) mod readable;
pub mod recording;
pub mod ringbuf;
pub mod routine;

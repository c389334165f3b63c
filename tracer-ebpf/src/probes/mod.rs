//! One file a topic. Each probe is a shell that filters and calls what does the work; the kernel
//! prototype it relies on stands beside it.

mod connect;
mod drop;
mod function;
mod retransmit;
mod stream;
mod syscall;

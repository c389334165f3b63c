//! One file a topic. Each probe is a shell that filters and calls the function with the logic; the kernel prototype
//! that it relies on stands beside it.

mod connect;
mod drop;
mod function;
mod log;
mod retransmit;
mod stream;
mod syscall;

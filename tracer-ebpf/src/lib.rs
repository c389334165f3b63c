//! What the kernel side of vault-tracer shares with the agent: the wire records.
#![no_std]

pub mod abi;

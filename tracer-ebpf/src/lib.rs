//! The half of the kernel side that the agent links too: wire records, field offsets, and the decisions of the
//! programs that need no kernel.
#![no_std]
#![expect(
    clippy::inline_always,
    reason = "a call within a BPF program takes stack, and older verifiers lose bounds across it"
)]

pub mod abi;
pub mod capture;
pub mod layout;
pub mod protocol;
pub mod state_change;

//! The agent of vault-tracer: why Vault or OpenBao hangs on its audit devices.
//!
//! Data flows one way: probes -> ring buffer ([`source`]) -> [`decode`] -> [`tracer_model::Event`] ->
//! [`tracer_core::Core`] -> findings -> [`sink`]. `ARCHITECTURE.md` walks one event through it.

// These panic where nobody reads on, or on a full disk: `console` has the lines for standard error.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod audit;
mod bounded;
pub mod cli;
pub mod commands;
mod console;
pub mod decode;
#[cfg(test)]
mod fuzz;
pub mod lines;
pub mod paths;
pub mod probe;
pub mod report;
pub mod sandbox;
pub mod server;
pub mod sink;
pub mod source;

pub use sink::tui::restore_at_end;

//! What tests, benchmarks and examples of several packages share. It does not depend on the agent.

pub mod documentation;
pub mod pty;
pub mod records;
pub mod replays;
pub mod simulation;
pub mod streams;
pub mod traces;
pub mod traffic;

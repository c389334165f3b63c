//! The agent against collectors: servers within this process that fail as they are told to, and programs of others.
//! What arrives is held against the trace file of the same recording, span by span.

mod agent;
mod delivery;
mod fake;
mod faults;
mod foreign;
mod outage;

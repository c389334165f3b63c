//! Probes: which there are (`specs`), what this host has (`host`), the choice (`plan`), loading and attaching (`attach`,
//! `hooks`), and the offsets of kernel fields (`layout`).

pub mod attach;
pub mod availability;
pub mod hooks;
pub mod host;
pub mod layout;
pub mod missing;
pub mod plan;
pub mod privilege;
pub mod specs;
pub mod tracefs;
pub mod types;

//! The kernel side as the agent sees it: what there is to attach, what this host has, the choice, and
//! the attaching itself; and where the kernel keeps what the programs read.

pub mod attach;
pub mod hooks;
pub mod host;
pub mod layout;
pub mod missing;
pub mod plan;
pub mod privilege;
pub mod specs;
pub mod tracefs;
pub mod types;

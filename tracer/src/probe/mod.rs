//! The kernel side as the agent sees it: what there is to attach, where the kernel keeps what the
//! programs read, and the attaching itself.

pub mod attach;
pub mod layout;
pub mod missing;
pub mod privilege;
pub mod specs;

//! The thread and goroutine that made a system call.

use serde::{Deserialize, Serialize};

/// Who made a system call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Thread id. Correlates nothing in Go: goroutines move between threads.
    pub tid: u32,
    /// `runtime.g.goid`, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goid: Option<u64>,
    /// `runtime.g.parentGoid`: the goroutine that started this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
}

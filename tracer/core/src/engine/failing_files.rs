//! Files whose devices fail.

use rustc_hash::FxHashMap;
use tracer_model::Nanos;

/// One that grows takes entries again.
#[derive(Debug, Default)]
pub(super) struct FailingFiles {
    /// When their sizes were last asked for.
    pub(super) asked: FxHashMap<String, Nanos>,
    /// Their sizes at the last look, bytes; `None` where there was no file.
    pub(super) looked: FxHashMap<String, Option<u64>>,
}

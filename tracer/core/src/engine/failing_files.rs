//! Audit files whose devices fail: one that grows takes entries again.

use rustc_hash::FxHashMap;
use tracer_model::Nanos;

/// Between two questions for the size of a file, ns.
const INTERVAL: Nanos = 500_000_000;

/// What is known of one file.
#[derive(Debug, Default)]
struct File {
    /// When its size was last asked for.
    asked: Nanos,
    /// Whether there was an answer.
    answered: bool,
    /// The last answer, bytes; `None` where there was no file.
    size: Option<u64>,
}

/// By path.
#[derive(Debug, Default)]
pub(super) struct FailingFiles(FxHashMap<String, File>);

impl FailingFiles {
    /// Takes the files that fail now. Returns those whose sizes are to be asked for.
    pub(super) fn due(&mut self, now: Nanos, failing: Vec<String>) -> Vec<String> {
        self.0.retain(|path, _| failing.contains(path));
        let is_due = |path: &String| {
            let file = self.0.entry(path.clone()).or_default();
            let is_due = now.saturating_sub(file.asked) >= INTERVAL;
            if is_due {
                file.asked = now;
            }
            is_due
        };
        failing.into_iter().filter(is_due).collect()
    }

    /// Takes an answer. Returns whether the file has grown since the one before.
    pub(super) fn has_grown(&mut self, path: &str, size: Option<u64>) -> bool {
        let file = self.0.entry(path.to_owned()).or_default();
        let has_grown = file.answered && size > file.size;
        (file.answered, file.size) = (true, size);
        has_grown
    }
}

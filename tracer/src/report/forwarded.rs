//! Requests that waited for the active node of the cluster.

use serde::Serialize;
use tracer_format::{
    record::Forwarded,
    text::{clean, count, duration, shortened},
};
use tracer_model::Nanos;

/// Addresses of active nodes that are named.
const ADDRESSES: usize = 4;

/// All such requests of the traces together.
#[derive(Debug, Default, Serialize)]
pub struct ForwardedSummary {
    /// How many.
    pub requests: u64,
    /// The sum of their waits.
    pub waited_ns: Nanos,
    /// The longest wait.
    pub longest_ns: Nanos,
    /// Where the active nodes listen, as far as known; at most four.
    pub to: Vec<String>,
}

impl ForwardedSummary {
    pub(super) fn add<T: AsRef<str>>(&mut self, forwarded: &Forwarded<T>) {
        let waited = forwarded.duration_ns;
        self.requests += 1;
        self.waited_ns = self.waited_ns.saturating_add(waited);
        self.longest_ns = self.longest_ns.max(waited);
        if let Some(to) = forwarded.to.as_ref().map(|to| shortened(to.as_ref()))
            && self.to.len() < ADDRESSES
            && !self.to.contains(&to)
        {
            self.to.push(to);
        }
    }

    /// In one sentence.
    pub(super) fn sentence(&self) -> String {
        let to: Vec<_> = self.to.iter().map(|to| clean(to)).collect();
        let to = if to.is_empty() {
            String::new()
        } else {
            format!(" ({})", to.join(", "))
        };
        format!(
            "{} forwarded to the active node{to} waited {} there in all, {} at worst: trace the active node.",
            count(self.requests, "request"),
            duration(self.waited_ns),
            duration(self.longest_ns),
        )
    }
}

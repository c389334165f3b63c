//! What one device did, over the whole trace.

use tracer_format::text::{count, duration, explain};
use tracer_model::Nanos;

use super::pace::Pace;

/// What is known and was printed of one device.
#[derive(Debug, Default)]
pub(super) struct OfDevice {
    pub(super) pace: Pace,
    pub(super) outages: u64,
    pub(super) blocked: u64,
    pub(super) blocked_for: Nanos,
    pub(super) longest: Nanos,
    pub(super) failed: u64,
}

impl OfDevice {
    pub(super) fn facts(&self) -> String {
        let mut facts = vec![count(self.outages, "outage")];
        if self.blocked > 0 {
            facts.push(format!(
                "{} blocked ({} in all, longest {})",
                count(self.blocked, "request"),
                duration(self.blocked_for),
                duration(self.longest)
            ));
        }
        if self.failed > 0 {
            facts.push(explain::failed_for(self.failed));
        }
        facts.join(", ")
    }
}

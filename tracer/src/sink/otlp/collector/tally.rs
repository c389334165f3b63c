//! Counts of spans at the end of the trace.

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) accepted: u64,
    /// In requests that were accepted in part.
    pub(super) rejected: u64,
    /// In requests that were refused.
    pub(super) refused: u64,
    /// Not confirmed when the time to send them was over.
    pub(super) unsent: u64,
    /// Dropped because the buffer was full.
    pub(super) dropped: u64,
    /// The last reason.
    pub(super) reason: String,
}

impl Tally {
    /// Spans that did not reach the collector.
    pub(super) fn lost(&self) -> u64 {
        self.rejected + self.refused + self.unsent + self.dropped
    }

    /// Why those are lost.
    pub(super) fn reasons(&self) -> String {
        let counts = [
            (self.unsent, "not confirmed in time"),
            (self.dropped, "without room to wait"),
            (self.refused, "refused"),
            (self.rejected, "rejected"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts: Vec<_> = counts.map(|(n, what)| format!("{n} {what}")).collect();
        let counts = counts.join(", ");
        match self.reason.as_str() {
            "" => counts,
            reason => format!("{counts}: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lost_spans_have_a_reason() {
        let tally = Tally {
            accepted: 100,
            rejected: 1,
            refused: 2,
            unsent: 3,
            dropped: 4,
            reason: "Connection refused".to_owned(),
        };
        assert_eq!(tally.lost(), 10);
        assert_eq!(
            tally.reasons(),
            "3 not confirmed in time, 4 without room to wait, 2 refused, 1 rejected: Connection refused"
        );
    }
}

//! What became of the spans.

/// Counts of spans, at the end of the trace.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// The collector has them.
    pub(super) taken: u64,
    /// Of requests that it took in part, those that it did not.
    pub(super) rejected: u64,
    /// Of requests that it refused.
    pub(super) refused: u64,
    /// Not confirmed when the time to send them was over.
    pub(super) unsent: u64,
    /// There was no room to let them wait.
    pub(super) left_out: u64,
    /// The last reason.
    pub(super) why: String,
}

impl Account {
    /// Those that the collector has not got.
    pub(super) fn lost(&self) -> u64 {
        self.rejected + self.refused + self.unsent + self.left_out
    }

    /// Why those are lost.
    pub(super) fn reasons(&self) -> String {
        let counts = [
            (self.unsent, "not confirmed in time"),
            (self.left_out, "without room to wait"),
            (self.refused, "refused"),
            (self.rejected, "rejected"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts: Vec<_> = counts.map(|(n, what)| format!("{n} {what}")).collect();
        let counts = counts.join(", ");
        match self.why.as_str() {
            "" => counts,
            why => format!("{counts}: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_lost_has_a_reason() {
        let account = Account {
            taken: 100,
            rejected: 1,
            refused: 2,
            unsent: 3,
            left_out: 4,
            why: "Connection refused".to_owned(),
        };
        assert_eq!(account.lost(), 10);
        assert_eq!(
            account.reasons(),
            "3 not confirmed in time, 4 without room to wait, 2 refused, 1 rejected: Connection refused"
        );
    }
}

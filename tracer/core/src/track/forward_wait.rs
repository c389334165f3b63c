//! How long a request waited for the active node of its cluster.
//!
//! The goroutine makes no system call meanwhile: samples find it there. What it does before and after bounds the wait.

use tracer_model::Nanos;

/// A wait that was first sampled within this time, ns, after the goroutine's last act began with that act: a standby forwards a
/// request as soon as it has read it, and while the programs buffer samples are up to 2 s apart.
const FIRST_SAMPLE: Nanos = 2_500_000_000;

/// Such a wait. Times are pairs: at the earliest, and at the latest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ForwardWait {
    began: (Nanos, Nanos),
    /// The last sample that found it.
    last: Nanos,
    /// The sample after that, which did not.
    missed: Option<Nanos>,
    ended: Option<(Nanos, Nanos)>,
    /// Where the active node listens.
    to: Option<String>,
}

impl ForwardWait {
    /// `acted`: when the goroutine did anything before; `since`: the first sample that found it waiting.
    pub(crate) fn after(acted: (Nanos, Nanos), since: Nanos) -> Self {
        let (earliest, latest) = acted;
        let is_soon = since.saturating_sub(latest) <= FIRST_SAMPLE;
        let latest = if is_soon { latest.min(since) } else { since };
        Self {
            began: (earliest.min(latest), latest),
            last: since,
            missed: None,
            ended: None,
            to: None,
        }
    }

    /// A sample found it.
    pub(crate) fn sampled(&mut self, at: Nanos, to: Option<&str>) {
        if self.ended.is_none() {
            self.last = self.last.max(at);
            self.missed = None;
            self.to = self.to.take().or(to.map(ToOwned::to_owned));
        }
    }

    /// A sample did not find it: returns whether that is the second one in a row. A goroutine that runs is not found.
    pub(crate) fn missed(&mut self, at: Nanos) -> bool {
        let is_second = self.missed.is_some();
        self.missed.get_or_insert(at);
        is_second
    }

    pub(crate) fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    /// The last sample that found it.
    pub(crate) fn last(&self) -> Nanos {
        self.last
    }

    /// It ended between these times.
    pub(crate) fn end(&mut self, earliest: Nanos, latest: Nanos) {
        let earliest = earliest.max(self.last);
        self.ended.get_or_insert((earliest, latest.max(earliest)));
    }

    /// Nothing more was seen of it: it ended before a sample missed it.
    pub(crate) fn end_with_last_sample(&mut self) {
        self.end(self.last, self.missed.unwrap_or(self.last));
    }

    pub(crate) fn to(&self) -> Option<&str> {
        self.to.as_deref()
    }

    /// When it began, how long it lasted, and by how much that may be wrong, ns. `None` while it lasts.
    pub(crate) fn measured(&self) -> Option<(Nanos, Nanos, Nanos)> {
        let (start, start_uncertainty) = middle(self.began);
        let (end, end_uncertainty) = middle(self.ended?);
        let duration = end.saturating_sub(start);
        Some((start, duration, start_uncertainty + end_uncertainty))
    }
}

fn middle((from, to): (Nanos, Nanos)) -> (Nanos, Nanos) {
    let half = to.saturating_sub(from) / 2;
    (from + half, half)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    /// From the goroutine's last act, the first sample, and its next act.
    fn measured(acted: (Nanos, Nanos), since: Nanos, next: (Nanos, Nanos)) -> [Nanos; 3] {
        let mut wait = ForwardWait::after((acted.0 * MS, acted.1 * MS), since * MS);
        wait.sampled(since * MS, None);
        wait.end(next.0 * MS, next.1 * MS);
        let (start, duration, uncertainty) = wait.measured().expect("over");
        [start / MS, duration / MS, uncertainty / MS]
    }

    #[test]
    fn acts_bound_a_wait_as_far_as_they_are_near() {
        for (acted, since, next, expected) in [
            ((10, 10), 210, (8010, 8010), [10, 8000, 0]),
            ((10, 10), 2010, (8010, 8010), [10, 8000, 0]),
            // The server may have worked on the request itself before.
            ((10, 10), 3010, (8010, 8010), [1510, 6500, 1500]),
            // A stream, of which nothing but frames is seen.
            ((0, 40), 240, (8000, 8100), [20, 8030, 70]),
            // Attached when it waited already.
            ((500, 500), 500, (900, 900), [500, 400, 0]),
        ] {
            assert_eq!(measured(acted, since, next), expected, "{acted:?} {since}");
        }
    }

    #[test]
    fn it_ends_once_and_not_before_a_sample_that_found_it() {
        let mut wait = ForwardWait::after((0, 0), MS);
        wait.sampled(500 * MS, Some("10.0.0.1:8201"));
        wait.sampled(600 * MS, None);
        assert_eq!((wait.measured(), wait.to()), (None, Some("10.0.0.1:8201")));
        assert!(!wait.missed(700 * MS) && wait.missed(800 * MS));
        wait.end(300 * MS, 400 * MS);
        wait.end_with_last_sample();
        wait.sampled(900 * MS, None);
        assert_eq!(wait.measured(), Some((0, 600 * MS, 0)));
    }

    /// Found on two nodes of Vault 2.1 with TLS: one that ended 0.16 s after the last sample that found it was as short as that, without an
    /// uncertainty.
    #[test]
    fn one_whose_end_was_not_seen_ended_before_a_sample_that_missed_it() {
        for (missed, expected) in [
            (&[700, 800][..], (0, 650 * MS, 50 * MS)),
            // The twin: the trace ended before a further sample.
            (&[], (0, 600 * MS, 0)),
        ] {
            let mut wait = ForwardWait::after((0, 0), MS);
            wait.sampled(500 * MS, None);
            // A goroutine that runs is missed once.
            wait.missed(550 * MS);
            wait.sampled(600 * MS, None);
            for at in missed {
                wait.missed(at * MS);
            }
            wait.end_with_last_sample();
            assert_eq!(wait.measured(), Some(expected), "{missed:?}");
        }
    }
}

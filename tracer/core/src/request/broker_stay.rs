//! How long a request's own goroutine stood in the audit broker, as samples found it.
//!
//! Where sinks write in goroutines of their own (Vault 1.15 and later), an operation blocks its request only as long as the
//! request's goroutine waits in the broker: a sink may go on when the broker's context has ended.

use tracer_model::{Nanos, Operation, Phase};

use crate::diagnose::phases;

/// A sample has the time when it began, ns before it was done, on a busy machine: a goroutine that it found elsewhere may have gone
/// there so much later.
const SAMPLE_TAKES: Nanos = 20_000_000;

/// Stays kept of one request: it has two, one for each entry.
const MAX_STAYS: usize = 64;

/// All stays of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct BrokerStays {
    stays: Vec<Stay>,
    /// The last sample that did not find the goroutine in the broker.
    absent: Option<Nanos>,
}

/// Samples in a row that found the goroutine in the broker.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stay {
    /// The sample before, which did not find it there.
    absent_before: Option<Nanos>,
    first: Nanos,
    last: Nanos,
    /// One sample that did not find it there: it may have been running, or on the move while it was read.
    missed: Option<Nanos>,
    /// The sample after, which did not find it there.
    absent_after: Option<Nanos>,
    phase: Option<Phase>,
}

impl BrokerStays {
    /// Takes whether a sample found the goroutine in the broker, and for which entry.
    pub(crate) fn sampled(&mut self, at: Nanos, is_present: bool, phase: Option<Phase>) {
        let mut absent_before = self.absent;
        let open = self.stays.last_mut().filter(|s| s.absent_after.is_none());
        match (open, is_present) {
            (Some(stay), true) if stay.phase == phase => {
                stay.last = at;
                stay.missed = None;
                return;
            }
            // Between two samples it has left for the next entry.
            (Some(stay), true) => {
                stay.absent_after = Some(stay.missed.unwrap_or(at));
                absent_before = Some(stay.missed.unwrap_or(stay.last));
            }
            (Some(stay), false) if stay.missed.is_none() => stay.missed = Some(at),
            (Some(stay), false) => stay.absent_after = stay.missed,
            (None, _) => {}
        }
        if !is_present {
            self.absent = Some(at);
            return;
        }
        if self.stays.len() < MAX_STAYS {
            self.stays.push(Stay {
                absent_before,
                first: at,
                last: at,
                missed: None,
                absent_after: None,
                phase,
            });
        }
    }

    /// The last sample before the first that found the goroutine in the broker: it had not entered it by then.
    pub(crate) fn not_entered_by(&self) -> Option<Nanos> {
        let first = self.stays.first();
        first.map_or(self.absent, |stay| stay.absent_before)
    }

    /// Whether the goroutine is in the broker, as far as samples say.
    pub(crate) fn is_inside(&self) -> bool {
        let last = self.stays.last();
        last.is_some_and(|stay| stay.absent_after.is_none())
    }

    /// Between which samples the goroutine left the broker last, ns.
    pub(crate) fn leave_gap(&self) -> Nanos {
        let last = self.stays.last();
        let gap = last.and_then(|stay| Some(stay.absent_after.or(stay.missed)? - stay.last));
        gap.unwrap_or(0)
    }

    /// By how much a sink's operation may have outlasted the goroutine's stay, ns, where nothing but samples shows when the
    /// goroutine left: the operation ended after the last one that found it there.
    pub(crate) fn may_outlast(&self, operation: &Operation) -> Nanos {
        let mut began_before = self
            .for_entry_of(operation)
            .filter(|(_, stay)| stay.not_before() <= operation.end);
        began_before.next_back().map_or(0, |(_, stay)| {
            operation.end.saturating_sub(stay.last.max(operation.start))
        })
    }

    /// Takes out of a sink's operation what was not within a stay for the entry that it writes; what is left may be in several
    /// parts. Where the goroutine entered or left between two samples, the middle is taken, with half of the gap as uncertainty.
    pub(crate) fn clip(&self, operation: Operation) -> Vec<Operation> {
        let mut stays = self.for_entry_of(&operation).peekable();
        if stays.peek().is_none() {
            return vec![operation];
        }
        let mut parts = Vec::new();
        while let Some((index, stay)) = stays.next() {
            // Of the first one, the operation itself shows when the goroutine entered.
            let (start, enter_gap) = match index {
                0 => (operation.start, 0),
                _ => stay.entered(&operation),
            };
            if start > operation.start && start >= operation.end {
                break;
            }
            let uncertainty = operation.uncertainty + enter_gap;
            let Some((left, leave_gap)) = stay.left(&operation) else {
                parts.push(Operation {
                    start,
                    uncertainty,
                    ..operation.clone()
                });
                break;
            };
            // One that began after the sample that found the goroutine in the next stay is of that one alone.
            let next = stays.peek().map(|(_, next)| next.entered(&operation).0);
            let end = next.map_or(left, |next| left.min(next));
            if start < end {
                parts.push(Operation {
                    start,
                    end,
                    outcome: None,
                    errno: None,
                    uncertainty: uncertainty + leave_gap,
                    ..operation.clone()
                });
            }
        }
        parts
    }

    /// The stays in which the goroutine can have waited for this operation, with their indices: those for the entry that the
    /// operation writes, where both are known.
    fn for_entry_of(
        &self,
        operation: &Operation,
    ) -> impl DoubleEndedIterator<Item = (usize, &Stay)> + use<'_> {
        let phase = phases::of_operation(operation);
        let fits = move |stay: &Stay| {
            let phases = phase.zip(stay.phase);
            phases.is_none_or(|(own, stays)| own == stays)
        };
        let is_known = self.stays.iter().any(fits);
        let stays = self.stays.iter().enumerate();
        stays.filter(move |(_, stay)| !is_known || fits(stay))
    }
}

impl Stay {
    /// The goroutine was not there before then, as far as samples say.
    fn not_before(&self) -> Nanos {
        self.absent_before.unwrap_or(self.first)
    }

    /// When the goroutine entered, as far as an operation shows that waits there, and by how much that may be wrong, ns.
    fn entered(&self, operation: &Operation) -> (Nanos, Nanos) {
        if operation.start > self.not_before() {
            return (operation.start, 0);
        }
        middle(self.not_before(), self.first)
    }

    /// When the goroutine left, and by how much that may be wrong, ns; `None` if it was there to the end of the operation. The last
    /// sample may have missed it: then it left after the one before, and at the operation's end at the latest.
    fn left(&self, operation: &Operation) -> Option<(Nanos, Nanos)> {
        let absent = self.absent_after.or(self.missed)?;
        // What was cut there itself goes on, as far as can be seen.
        let is_cut = operation.end == absent && operation.outcome.is_none();
        let goes_on = is_cut || operation.end > absent + SAMPLE_TAKES;
        goes_on.then(|| middle(self.last, self.absent_after.unwrap_or(operation.end)))
    }
}

fn middle(from: Nanos, to: Nanos) -> (Nanos, Nanos) {
    let half = to.saturating_sub(from) / 2;
    (from + half, half)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracer_model::{Actor, Device, Op, Transport};

    use super::*;

    const MS: Nanos = 1_000_000;

    /// All times here are in ms.
    fn operation(start: Nanos, end: Nanos) -> Operation {
        let device = Device::new(Transport::Tcp, "10.0.0.2:1515");
        Operation::new(Op::Write, device, Actor::default(), (start * MS, end * MS))
    }

    fn in_ms(parts: &[Operation]) -> Vec<(Nanos, Nanos, Nanos)> {
        let span = |o: &Operation| (o.start / MS, o.end / MS, o.uncertainty / MS);
        parts.iter().map(span).collect()
    }

    /// Samples every 100, with the goroutine in the broker from the first to the second of each pair.
    fn stays(pairs: &[(Nanos, Nanos)], samples: Nanos) -> BrokerStays {
        let mut stays = BrokerStays::default();
        for at in (0..=samples).step_by(100) {
            let is_present = pairs.iter().any(|(from, to)| (*from..=*to).contains(&at));
            stays.sampled(at * MS, is_present, None);
        }
        stays
    }

    fn clipped(stays: &BrokerStays, start: Nanos, end: Nanos) -> Vec<(Nanos, Nanos, Nanos)> {
        in_ms(&stays.clip(operation(start, end)))
    }

    #[test]
    fn an_operation_is_cut_to_the_stays() {
        let one = stays(&[(100, 500)], 2000);
        let two = stays(&[(100, 500), (900, 1200)], 2000);
        let open = stays(&[(100, 2000)], 2000);
        // Found by `cargo xtask truth`: a plugin worked after the broker's context had ended, and one sample was in that time.
        let missed = stays(&[(100, 500)], 600);
        for (stays, (start, end), expected) in [
            // Within the stay, and within the gap in which the goroutine left: as seen.
            (&one, (50, 450), vec![(50, 450, 0)]),
            (&one, (50, 580), vec![(50, 580, 0)]),
            // The sample that found it elsewhere was not done at once.
            (&one, (50, 615), vec![(50, 615, 0)]),
            // It goes on when the goroutine has left.
            (&one, (50, 900), vec![(50, 550, 50)]),
            (&one, (700, 900), vec![]),
            // A sink of the first entry that still waits during the second.
            (&two, (50, 1000), vec![(50, 550, 50), (850, 1000, 50)]),
            (&two, (50, 1900), vec![(50, 550, 50), (850, 1250, 100)]),
            (&two, (870, 1100), vec![(870, 1100, 0)]),
            // The goroutine was in the broker to the end.
            (&open, (50, 5000), vec![(50, 5000, 0)]),
            (&missed, (50, 580), vec![(50, 580, 0)]),
            (&missed, (50, 800), vec![(50, 650, 150)]),
            (&BrokerStays::default(), (50, 5000), vec![(50, 5000, 0)]),
        ] {
            assert_eq!(clipped(stays, start, end), expected, "{start}..{end}");
        }
    }

    /// Samples every 100: the goroutine waits for the first entry up to the one time, then for the second up to the other.
    fn both(first_until: Nanos, second_until: Nanos, samples: Nanos) -> BrokerStays {
        let mut stays = BrokerStays::default();
        for at in (0..=samples).step_by(100) {
            let phase = if at <= first_until {
                Phase::Request
            } else {
                Phase::Response
            };
            stays.sampled(at * MS, at <= second_until, Some(phase));
        }
        stays
    }

    const PHASES: [Option<Phase>; 3] = [None, Some(Phase::Request), Some(Phase::Response)];

    fn parts_of(
        stays: &BrokerStays,
        phase: Option<Phase>,
        span: (Nanos, Nanos),
    ) -> Vec<(Nanos, Nanos, Nanos)> {
        let operation = Operation {
            phase,
            ..operation(span.0, span.1)
        };
        in_ms(&stays.clip(operation))
    }

    /// Found in live runs of a stripped Vault 2.1: a wait that began between the last sample of the first stay and the first one of
    /// the second was reported in two parts.
    #[test]
    fn a_wait_for_one_entry_is_of_the_stay_for_that_entry() {
        let stays = both(500, 5000, 5000);
        let [unknown, request, response] = PHASES;
        for (phase, span, expected) in [
            (unknown, (520, 1500), vec![(520, 1500, 0)]),
            (response, (520, 1500), vec![(520, 1500, 0)]),
            // The twins: one for the first entry goes on, of which the second stay was no part; or nobody knows for which it is.
            (request, (520, 1500), vec![(520, 550, 50)]),
            (request, (50, 1500), vec![(50, 550, 50)]),
            (unknown, (50, 1500), vec![(50, 550, 50), (550, 1500, 50)]),
            (request, (50, 580), vec![(50, 580, 0)]),
            // Found in a live run of Vault 2.1 on a busy machine: a dial ended while the sample was being taken.
            (request, (50, 615), vec![(50, 615, 0)]),
            // The goroutine was in the first stay until 500: nothing of the second began before.
            (response, (400, 1500), vec![(550, 1500, 50)]),
            // What failed at once.
            (unknown, (700, 700), vec![(700, 700, 0)]),
            (request, (700, 700), vec![]),
        ] {
            assert_eq!(
                parts_of(&stays, phase, span),
                expected,
                "{phase:?} {span:?}"
            );
        }
        // What no stay for its entry was found of is bounded by the others.
        assert_eq!(
            parts_of(&both(500, 500, 900), response, (450, 900)),
            [(450, 550, 50)]
        );
    }

    proptest! {
        #[test]
        fn parts_of_an_operation_lie_apart_and_within_it(
            (first, second, samples) in (0..30_u64, 0..30_u64, 0..40_u64),
            (start, length, phase) in (0..3000_u64, 0..3000_u64, 0..3_usize),
        ) {
            let stays = both(first * 100, second * 100, samples * 100);
            let parts = parts_of(&stays, PHASES[phase], (start, start + length));
            let mut reached = start;
            for (from, to, _) in parts {
                prop_assert!(reached <= from && from <= to, "{from}..{to} after {reached}");
                reached = to;
            }
            prop_assert!(reached <= start + length);
        }
    }
}

//! How long a request's own goroutine stood in the audit broker, as samples found it.
//!
//! Where sinks write in goroutines of their own (Vault 1.15 and later), an operation blocks its request only as long as the
//! request's goroutine waits in the broker: a sink may go on when the broker's context has ended.

use tracer_model::{Nanos, Operation, Phase};

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
        let began_before = |stay: &&Stay| stay.absent_before.unwrap_or(stay.first) <= operation.end;
        let stay = self.stays.iter().rfind(began_before);
        stay.map_or(0, |stay| {
            operation.end.saturating_sub(stay.last.max(operation.start))
        })
    }

    /// Takes out of a sink's operation what was not within a stay; what is left may be in several parts. Where the goroutine
    /// left between two samples, the middle is taken, with half of the gap as uncertainty. The last sample may have missed it: then
    /// it left after the one before, and at the operation's end at the latest.
    pub(crate) fn clip(&self, operation: Operation) -> Vec<Operation> {
        let is_there = |stay: &Stay| stay.absent_after.or(stay.missed).is_none();
        if self.stays.iter().all(is_there) {
            return vec![operation];
        }
        let mut parts = Vec::new();
        let mut rest = Some(operation);
        for (index, stay) in self.stays.iter().enumerate() {
            let Some(operation) = rest.take() else { break };
            // What was cut there itself goes on, as far as can be seen.
            let goes_on = |absent: Nanos| {
                operation.end > absent || (operation.end == absent && operation.outcome.is_none())
            };
            let absent = stay.absent_after.or(stay.missed);
            if !absent.is_some_and(goes_on) {
                rest = Some(operation);
                break;
            }
            let latest = stay.absent_after.unwrap_or(operation.end);
            let (left, leave_gap) = middle(stay.last, latest);
            if operation.start < left {
                parts.push(Operation {
                    end: left,
                    outcome: None,
                    errno: None,
                    uncertainty: operation.uncertainty + leave_gap,
                    ..operation.clone()
                });
            }
            rest = self.stays.get(index + 1).and_then(|next| {
                let before = next.absent_before.unwrap_or(next.first);
                let (entered, enter_gap) = middle(before, next.first);
                let is_later = operation.start > before;
                let start = if is_later { operation.start } else { entered };
                let uncertainty = if is_later { 0 } else { enter_gap };
                (start < operation.end).then(|| Operation {
                    start,
                    uncertainty: operation.uncertainty + uncertainty,
                    ..operation
                })
            });
        }
        parts.extend(rest);
        parts
    }
}

fn middle(from: Nanos, to: Nanos) -> (Nanos, Nanos) {
    let half = to.saturating_sub(from) / 2;
    (from + half, half)
}

#[cfg(test)]
mod tests {
    use tracer_model::{Actor, Device, Op, Transport};

    use super::*;

    fn operation(start: Nanos, end: Nanos) -> Operation {
        let device = Device::new(Transport::Tcp, "10.0.0.2:1515");
        Operation::new(Op::Write, device, Actor::default(), (start, end))
    }

    /// Samples every 100, with the goroutine in the broker from the first to the second of each pair.
    fn stays(pairs: &[(Nanos, Nanos)], samples: Nanos) -> BrokerStays {
        let mut stays = BrokerStays::default();
        for at in (0..=samples).step_by(100) {
            let is_present = pairs.iter().any(|(from, to)| (*from..=*to).contains(&at));
            stays.sampled(at, is_present, None);
        }
        stays
    }

    fn clipped(stays: &BrokerStays, start: Nanos, end: Nanos) -> Vec<(Nanos, Nanos, Nanos)> {
        let parts = stays.clip(operation(start, end));
        parts
            .iter()
            .map(|o| (o.start, o.end, o.uncertainty))
            .collect()
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
}

//! A request has one wait per device at a time. Of two operations that overlap, the less certain one is trimmed.

use tracer_model::{Device, Nanos, Op, Operation, Outcome, Phase};

/// Trims the operations of a finished request until no two overlap in the same device. They stay in the order in which they end.
pub(crate) fn resolve_overlaps(operations: &mut Vec<Operation>) {
    trim_unseen_ends(operations);
    trim_queueing(operations);
    trim_lost_races(operations);
    trim_parallel_attempts(operations);
    operations.sort_by_key(|operation| (operation.end, operation.start));
}

/// An operation whose end was not seen ends, at the latest, where the request was seen to do something else in the device.
fn trim_unseen_ends(operations: &mut [Operation]) {
    let is_unseen = |operation: &Operation| operation.outcome.is_none() && operation.op != Op::Lock;
    if !operations.iter().any(is_unseen) {
        return;
    }
    let spans: Vec<_> = operations.iter().map(Span::of).collect();
    let unseen = operations
        .iter_mut()
        .enumerate()
        .filter(|(_, operation)| is_unseen(operation));
    for (index, unseen) in unseen {
        let own = Span::of(unseen);
        let others = spans
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        for (_, other) in others.filter(|(_, other)| other.rules_out(&own)) {
            if other.precedes_wait_of(unseen) {
                unseen.start = unseen.start.max(other.start).min(unseen.end);
            } else if unseen.start < other.start {
                unseen.end = unseen.end.min(other.start);
            } else if unseen.start < other.end && other.end_is_seen {
                unseen.end = unseen.start;
            }
        }
    }
}

/// When a request began to queue and when it ceased is known to a sample only, and a sink that the request has ceased to
/// wait for may queue on beside that of the next entry. So queueing gives way to what probes saw, and to queueing for a later
/// entry, or that began later.
fn trim_queueing(operations: &mut Vec<Operation>) {
    if operations.iter().all(|operation| operation.op != Op::Lock) {
        return;
    }
    let spans: Vec<_> = operations.iter().map(Span::of).collect();
    let mut parts = Vec::with_capacity(operations.len());
    for (operation, own) in operations.drain(..).zip(&spans) {
        if operation.op == Op::Lock {
            let others = spans.iter().filter(|other| other.outranks(own));
            parts.extend(without(operation, others));
        } else {
            parts.push(operation);
        }
    }
    parts.sort_by_key(|operation| operation.end);
    *operations = parts;
}

/// What is left of an operation outside of these spans.
fn without<'a>(operation: Operation, spans: impl Iterator<Item = &'a Span>) -> Vec<Operation> {
    spans.fold(vec![operation], |parts, span| {
        let cut = parts.into_iter().flat_map(|part| {
            let before = (part.start, part.end.min(span.start));
            let after = (part.start.max(span.end), part.end);
            let is_apart = part.end <= span.start || part.start >= span.end;
            let left = if span.ends_queue_of(&part) {
                [Some(before), None]
            } else if span.precedes_wait_of(&part) {
                [None, Some(after)]
            } else if is_apart || span.start == span.end {
                [Some((part.start, part.end)), None]
            } else {
                [Some(before), Some(after)]
            };
            let left = left
                .into_iter()
                .flatten()
                .filter(|(start, end)| start < end);
            left.map(move |(start, end)| Operation {
                start,
                end,
                ..part.clone()
            })
        });
        cut.collect()
    })
}

/// Of several addresses the first connection is used, and the goroutine that dialled another one may be seen to give up only after
/// that: it was not waited for any longer.
fn trim_lost_races(operations: &mut [Operation]) {
    let is_write = |o: &&Operation| o.op == Op::Write && o.outcome == Some(Outcome::Ok);
    let writes = operations.iter().filter(is_write);
    let writes: Vec<_> = writes.map(Span::of).collect();
    for dial in operations.iter_mut().filter(|o| o.op == Op::Connect) {
        let parent = dial.by.parent.filter(|parent| *parent != 0);
        let followed = |write: &&Span| {
            let is_for_it = write.device == dial.device && write.by == parent;
            is_for_it && parent.is_some() && dial.start <= write.start && write.start < dial.end
        };
        if let Some(write) = writes.iter().find(followed) {
            dial.end = write.start;
        }
    }
}

/// Goroutines of one request may dial one device at the same time (`net/dial.go`, `dialParallel`): the request waits once.
fn trim_parallel_attempts(operations: &mut [Operation]) {
    for index in 1..operations.len() {
        let (before, rest) = operations.split_at_mut(index);
        let later = &mut rest[0];
        for earlier in before.iter_mut().filter(|o| o.device == later.device) {
            if earlier.start <= later.start {
                later.start = later.start.max(earlier.end.min(later.end));
            } else if later.end > earlier.start {
                earlier.start = later.end.min(earlier.end);
            }
        }
    }
}

/// When something was waited for in a device, and by which goroutine.
struct Span {
    device: Device,
    by: Option<u64>,
    op: Op,
    phase: Option<Phase>,
    start: Nanos,
    end: Nanos,
    end_is_seen: bool,
    /// It is what the server says of the entry, rather than what a socket shows.
    is_reported: bool,
}

impl Span {
    fn of(operation: &Operation) -> Self {
        Self {
            device: operation.device.clone(),
            by: operation.by.goid,
            op: operation.op,
            phase: operation.phase,
            start: operation.start,
            end: operation.end,
            end_is_seen: operation.outcome.is_some(),
            is_reported: operation.reported.is_some(),
        }
    }

    /// Whether an operation with an unseen end cannot have gone on at the same time. Another goroutine of the request may
    /// have queued meanwhile.
    fn rules_out(&self, unseen: &Self) -> bool {
        self.device == unseen.device && self.op != Op::Lock
    }

    /// Whether queueing gives way to it where they overlap.
    fn outranks(&self, lock: &Self) -> bool {
        let is_seen = self.op != Op::Lock && self.by != lock.by;
        self.device == lock.device && (is_seen || (self.op == Op::Lock && self.is_later(lock)))
    }

    /// Whether the server says by then that this entry has failed: nothing queues with it any more.
    fn ends_queue_of(&self, lock: &Operation) -> bool {
        self.is_reported && self.phase.is_some() && self.phase == lock.phase
    }

    /// Whether the server says by then that the first entry has failed: nothing waited with the second one before.
    fn precedes_wait_of(&self, wait: &Operation) -> bool {
        let is_logged = self.is_reported && self.start == self.end;
        is_logged && (self.phase, wait.phase) == (Some(Phase::Request), Some(Phase::Response))
    }

    /// Whether it queues for the later entry. Of a sink that goes on, the beginning is only that of the handler's next stay.
    fn is_later(&self, other: &Self) -> bool {
        match (self.phase, other.phase) {
            (Some(own), Some(others)) if own != others => own == Phase::Response,
            _ => self.start > other.start,
        }
    }
}

#[cfg(test)]
mod tests {
    use tracer_model::{Actor, FailureReason, Outcome, Transport};

    use super::*;

    fn queueing(goid: u64, phase: Phase, span: (Nanos, Nanos)) -> Operation {
        operation(Op::Lock, goid, phase, span)
    }

    fn operation(op: Op, goid: u64, phase: Phase, span: (Nanos, Nanos)) -> Operation {
        let by = Actor {
            goid: Some(goid),
            ..Actor::default()
        };
        let device = Device::configured(Transport::Tcp, "10.0.0.2:1515");
        Operation {
            phase: Some(phase),
            ..Operation::new(op, device, by, span)
        }
    }

    /// Found in a live run of Vault 2.1: the entry found its time over when it came out of the queue, and the server says so of a
    /// dial that shows no system call.
    #[test]
    fn nothing_queues_with_an_entry_of_which_the_server_says_that_it_failed() {
        let failed = |phase| Operation {
            outcome: Some(Outcome::Timeout),
            reported: Some(FailureReason::Timeout),
            ..operation(Op::Connect, 9, phase, (100, 100))
        };
        for (phase, expected) in [
            (Phase::Request, vec![(0, 100)]),
            // The twin: another entry goes on to queue.
            (Phase::Response, vec![(0, 130)]),
        ] {
            let mut operations = vec![failed(phase), queueing(1, Phase::Request, (0, 130))];
            resolve_overlaps(&mut operations);
            let queued = operations.iter().filter(|o| o.op == Op::Lock);
            let queued: Vec<_> = queued.map(|o| (o.start, o.end)).collect();
            assert_eq!(queued, expected, "{operations:?}");
        }
    }

    /// Found in a lab with fifty clients: the server says that the first entry has failed when the samples have the request queue for
    /// the second one already.
    #[test]
    fn nothing_queues_for_the_second_entry_before_the_first_has_failed() {
        let failed = |phase, is_logged: bool| Operation {
            outcome: Some(Outcome::Timeout),
            reported: is_logged.then_some(FailureReason::Timeout),
            ..operation(Op::Connect, 9, phase, (120, 120))
        };
        for (failed, expected) in [
            (failed(Phase::Request, true), (120, 200)),
            // The twins: a dial that failed at once takes nothing of the time, and does not part what it falls into.
            (failed(Phase::Request, false), (100, 200)),
            (failed(Phase::Response, false), (100, 200)),
        ] {
            let mut operations = vec![failed, queueing(2, Phase::Response, (100, 200))];
            resolve_overlaps(&mut operations);
            let queued = operations.iter().filter(|o| o.op == Op::Lock);
            let queued: Vec<_> = queued.map(|o| (o.start, o.end)).collect();
            assert_eq!(queued, [expected], "{operations:?}");
        }
    }

    /// Found in a live run of Vault 2.1: a look-up for the second entry began, as far as samples say, 5 ms before the server said of
    /// the first that it had failed, and was 5 ms long in place of 2 s.
    #[test]
    fn that_the_first_entry_has_failed_ends_no_wait_with_the_second() {
        let look_up = |phase, span| Operation {
            outcome: None,
            ..operation(Op::Connect, 2, phase, span)
        };
        for (phase, waited) in [
            (Phase::Response, (100, 2000)),
            // The twin: it is what failed.
            (Phase::Request, (95, 100)),
        ] {
            let failed = Operation {
                outcome: Some(Outcome::Error),
                reported: Some(FailureReason::Resolver),
                ..operation(Op::Resolve, 9, Phase::Request, (100, 100))
            };
            let mut operations = vec![failed, look_up(phase, (95, 2000))];
            resolve_overlaps(&mut operations);
            let mut waits = operations.iter().filter(|o| o.op == Op::Connect);
            let span = waits.next().map(|o| (o.start, o.end));
            assert_eq!(span, Some(waited), "{operations:?}");
        }
    }

    /// Found in a live run: a sink of the first entry that queues on, clipped to the handler's second stay, whose begin is known
    /// to half of a gap.
    #[test]
    fn queueing_for_the_first_entry_gives_way_to_that_for_the_second() {
        for second_begins in [90, 100, 110] {
            let mut operations = vec![
                queueing(1, Phase::Request, (0, 80)),
                queueing(1, Phase::Request, (100, 200)),
                queueing(2, Phase::Response, (second_begins, 200)),
            ];
            resolve_overlaps(&mut operations);
            let of_second = operations
                .iter()
                .filter(|operation| operation.phase == Some(Phase::Response));
            let waited: Nanos = of_second.map(Operation::duration).sum();
            assert_eq!(waited, 200 - second_begins, "{operations:?}");
            let all: Nanos = operations.iter().map(Operation::duration).sum();
            assert!(all <= 190, "{operations:?}");
        }
    }
}

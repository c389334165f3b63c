//! Of a request one goroutine is in a device at a time, and waits there for one thing: where operations of its overlap,
//! what is less certain gives way.

use tracer_model::{Device, Nanos};
use tracer_model::{Op, Operation};

/// Leaves no two of a finished request's operations in the same device at the same time, as far as that can be told.
pub(super) fn part(operations: &mut [Operation]) {
    end_unseen(operations);
    queue_once(operations);
}

/// A wait whose end was not seen, since that was lost, ends where its goroutine was last found waiting. It was over before
/// what else was seen in the device.
fn end_unseen(operations: &mut [Operation]) {
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
            if unseen.start < other.start {
                unseen.end = unseen.end.min(other.start);
            } else if unseen.start < other.end && other.is_seen {
                unseen.end = unseen.start;
            }
        }
    }
}

/// On one device a request waits for one thing at a time. When it began to queue, and ceased to, is
/// known to a look; and a sink that it has ceased to wait for may queue on beside that of the next
/// entry. So queueing gives way to what was seen to the nanosecond, and to queueing that began later.
fn queue_once(operations: &mut [Operation]) {
    if operations.iter().all(|operation| operation.op != Op::Lock) {
        return;
    }
    let spans: Vec<_> = operations.iter().map(Span::of).collect();
    for lock in operations.iter_mut().filter(|o| o.op == Op::Lock) {
        let own = Span::of(lock);
        for other in spans.iter().filter(|other| other.outranks(&own)) {
            give_way(lock, other);
        }
    }
}

/// When something was waited for in a device, and by whom.
struct Span {
    device: Device,
    by: Option<u64>,
    op: Op,
    start: Nanos,
    end: Nanos,
    /// Whether its end was.
    is_seen: bool,
}

impl Span {
    fn of(operation: &Operation) -> Self {
        Self {
            device: operation.device.clone(),
            by: operation.by.goid,
            op: operation.op,
            start: operation.start,
            end: operation.end,
            is_seen: operation.outcome.is_some(),
        }
    }

    /// Whether a wait with an unknown end cannot have been there at the same time; for the lock, another goroutine of the
    /// request may have waited meanwhile.
    fn rules_out(&self, unseen: &Self) -> bool {
        self.device == unseen.device && self.op != Op::Lock
    }

    /// Whether a wait for the lock has to give way to it where both are.
    fn outranks(&self, lock: &Self) -> bool {
        let is_sure = self.op != Op::Lock && self.by != lock.by;
        let is_later = self.op == Op::Lock && self.start > lock.start;
        self.device == lock.device && (is_sure || is_later)
    }
}

fn give_way(lock: &mut Operation, other: &Span) {
    if lock.start < other.start {
        lock.end = lock.end.min(other.start);
    } else if lock.start < other.end {
        lock.start = other.end.min(lock.end);
    }
}

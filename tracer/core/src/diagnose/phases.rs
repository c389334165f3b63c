//! For which of a request's two entries an operation was: the one before the work or the one before the answer.

use rustc_hash::FxHashMap;
use tracer_model::{
    Actor, Device, EntryKind, Nanos, Op, Operation, Outcome, Phase, SocketId, Transport,
};

/// The server tries each entry twice: on the connection it has, then on a new one
/// (`builtin/audit/socket/backend.go`, `LogRequest`).
const ATTEMPTS: u32 = 2;

/// How far a request is with its two entries on one device.
#[derive(Default)]
pub(crate) struct Progress {
    entries: u32,
    failures: u32,
    /// When the last entry was written, ns. Of one that another goroutine writes, the handler's wait for that is an operation
    /// of its own, at the same time.
    written_until: Nanos,
    /// Who did the operation before.
    by: Option<Actor>,
    /// What was sent last of an entry to an HTTP server.
    posted: Option<PostedEntry>,
}

/// An entry of which the beginning was sent to an HTTP server. A client's transport sends the first 4,096 bytes and then the rest
/// (`net/http`, `Transport.WriteBufferSize`).
#[derive(Clone, Copy)]
struct PostedEntry {
    socket: SocketId,
    by: Option<u64>,
    phase: Phase,
    /// Entries and failures before it.
    before: (u32, u32),
}

/// Whether a request has both its entries behind it, on each device that it used.
pub(crate) fn has_written_both_entries(operations: &[Operation]) -> bool {
    let mut devices: FxHashMap<&Device, Progress> = FxHashMap::default();
    for operation in operations {
        let progress = devices.entry(&operation.device).or_default();
        progress.phase_of(operation, false);
    }
    devices.values().all(|progress| progress.entries >= 2)
}

/// What is known of the operation itself, or its entry says.
pub(crate) fn of_operation(operation: &Operation) -> Option<Phase> {
    operation
        .phase
        .or_else(|| operation.entry.as_ref()?.phase())
}

/// Whether the operation wrote an entry about the answer.
pub(crate) fn is_about_the_answer(operation: &Operation) -> bool {
    let entry = operation.entry.as_ref();
    entry.is_some_and(|entry| entry.kind == Some(EntryKind::Response))
}

impl Progress {
    /// The entry that this operation was for: what the entry says, or the stack; else what was seen on another device
    /// (`answering`), or that another sink has it; else what the attempts so far leave.
    pub(crate) fn phase_of(&mut self, operation: &Operation, answering: bool) -> Phase {
        if let Some(posted) = self.posted.filter(|_| self.is_rest(operation)) {
            if operation.failed() {
                (self.entries, self.failures) = posted.before;
                self.count(operation);
            }
            self.written_until = self.written_until.max(operation.end);
            return of_operation(operation).unwrap_or(posted.phase);
        }
        let sampled = operation.phase == Some(Phase::Response);
        let is_next = sampled || answering || self.is_of_another_sink(operation);
        if is_about_the_answer(operation) || is_next {
            self.advance_to(1);
        }
        let counted = if self.entries == 0 {
            Phase::Request
        } else {
            Phase::Response
        };
        let before = (self.entries, self.failures);
        self.count(operation);
        let phase = of_operation(operation).unwrap_or(counted);
        let posted = PostedEntry::of(operation, phase, before);
        self.posted = posted.or(self.posted);
        phase
    }

    /// Whether the operation sends the rest of an entry: it is neither the next one, nor is the entry taken without it.
    pub(crate) fn is_rest(&self, operation: &Operation) -> bool {
        let posted = self.posted.as_ref();
        posted.is_some_and(|posted| posted.has_rest(operation))
    }

    /// Each sink writes one entry. What is reported, or says itself which entry it is for, need not be guessed by that.
    fn is_of_another_sink(&mut self, operation: &Operation) -> bool {
        if operation.reported.is_some() {
            return false;
        }
        let before = self.by.replace(operation.by);
        let is_known = operation.phase.is_some() || operation.entry.is_some();
        !is_known && before.is_some_and(|before| !are_related(before, operation.by))
    }

    fn advance_to(&mut self, entry: u32) {
        if self.entries < entry {
            self.entries = entry;
            self.failures = 0;
        }
    }

    fn count(&mut self, operation: &Operation) {
        if operation.failed() {
            self.failures += 1;
        }
        let written = operation.op == Op::Write && operation.outcome == Some(Outcome::Ok);
        let is_next = operation.start >= self.written_until;
        if (written && is_next) || self.failures == ATTEMPTS {
            self.advance_to(self.entries + 1);
        }
        if written {
            self.written_until = self.written_until.max(operation.end);
        }
    }
}

impl PostedEntry {
    fn of(operation: &Operation, phase: Phase, before: (u32, u32)) -> Option<Self> {
        let entry = operation.entry.as_ref()?;
        let is_http = entry.over_http || operation.device.transport == Transport::Http;
        let is_sent = operation.op == Op::Write && operation.outcome == Some(Outcome::Ok);
        Some(Self {
            socket: operation.socket.filter(|_| is_http && is_sent)?,
            by: operation.by.goid,
            phase,
            before,
        })
    }

    fn has_rest(&self, operation: &Operation) -> bool {
        let is_part = operation.op == Op::Write && operation.entry.is_none();
        is_part && operation.socket == Some(self.socket) && operation.by.goid == self.by
    }
}

/// Whether two goroutines may work on one entry: one dials for the other, both do for a third one, or it is not known.
fn are_related(one: Actor, other: Actor) -> bool {
    let (Some(own), Some(others)) = (one.goid, other.goid) else {
        return true;
    };
    let parent = |actor: Actor| actor.parent.filter(|parent| *parent != 0);
    let (parent, others_parent) = (parent(one), parent(other));
    let are_siblings = parent.is_some() && parent == others_parent;
    own == others || parent == Some(others) || others_parent == Some(own) || are_siblings
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_model::EntryHead;

    /// Of two entries with a rest each, the rest is no entry of its own; on a device without HTTP what is not recognised is one.
    #[test]
    fn the_rest_of_an_entry_is_not_the_next_one() {
        let write = |transport, socket, is_entry: bool| Operation {
            socket: Some(SocketId {
                born: socket,
                slot: 0,
            }),
            outcome: Some(Outcome::Ok),
            entry: is_entry.then(EntryHead::default),
            ..Operation::new(
                Op::Write,
                Device::new(transport, "x"),
                Actor::default(),
                (1, 1),
            )
        };
        for (transport, writes, expected) in [
            (Transport::Http, vec![(1, true), (1, false)], false),
            (Transport::Http, vec![(1, true), (1, true)], true),
            (
                Transport::Http,
                vec![(1, true), (1, false), (1, true), (1, false)],
                true,
            ),
            (Transport::Http, vec![(1, true), (2, false)], true),
            (Transport::Tcp, vec![(1, true), (1, false)], true),
        ] {
            let operations = writes.iter();
            let operations =
                operations.map(|(socket, is_entry)| write(transport, *socket, *is_entry));
            let operations: Vec<_> = operations.collect();
            let both = has_written_both_entries(&operations);
            assert_eq!(both, expected, "{transport:?} {writes:?}");
        }
    }
}

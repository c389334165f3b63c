//! Entries of a finished request that a device did not take.

use tracer_model::{Device, Nanos, Op, Operation, Outcome, Phase};

use crate::diagnose::phases::{Progress, is_about_the_answer};

/// An entry that a device did not take, as far as it was seen when the request was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Untaken {
    /// Whether it was tried; else it was in the queue to the end.
    pub(crate) tried: bool,
    /// Whether an attempt was seen to fail.
    pub(crate) failed: bool,
    /// The goroutine that had it last.
    pub(crate) by: Option<u64>,
    /// When it first tried or queued, and when it was last seen to have it.
    pub(crate) since: Nanos,
    pub(crate) until: Nanos,
    pub(crate) phase: Phase,
}

#[derive(Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is seen by itself")]
struct EntryState {
    taken: bool,
    tried: bool,
    failed: bool,
    queued: bool,
    by: Option<u64>,
    since: Option<Nanos>,
    until: Nanos,
}

/// `operations`: all of the request, in the order in which they ended.
pub(crate) fn untaken(operations: &[Operation], device: &Device) -> Vec<Untaken> {
    let mut progress = Progress::default();
    let mut entries = [EntryState::default(); 2];
    let mut answering = false;
    for operation in operations {
        if operation.device == *device {
            let is_rest = progress.is_rest(operation);
            let phase = progress.phase_of(operation, answering);
            let entry = &mut entries[usize::from(phase == Phase::Response)];
            // Of what an HTTP server rejected, nobody has the entry any more: its writer goes on to others'.
            let is_answered = operation.reported.is_some() && operation.socket.is_some();
            let by = operation.by.goid.or(entry.by);
            entry.by = by.filter(|_| !is_answered);
            entry.until = operation.end;
            let first = entry.since.unwrap_or(operation.start);
            entry.since = Some(first.min(operation.start));
            entry.failed |= operation.failed();
            // What was written to an HTTP server is not taken before it says so.
            entry.taken &= operation.reported.is_none();
            match operation.op {
                Op::Lock => entry.queued = true,
                Op::Write if operation.outcome == Some(Outcome::Ok) => entry.taken |= !is_rest,
                // What is written to it then may not be seen: within TLS.
                Op::Connect if operation.outcome == Some(Outcome::Ok) => {}
                Op::Connect | Op::Resolve | Op::Write => {
                    entry.tried = true;
                    entry.taken &= !is_rest;
                }
            }
        }
        answering |= is_about_the_answer(operation);
    }
    let phases = [Phase::Request, Phase::Response];
    let untaken = phases
        .into_iter()
        .zip(entries)
        .filter(|(_, entry)| !entry.taken && (entry.tried || entry.queued));
    untaken
        .map(|(phase, entry)| Untaken {
            tried: entry.tried,
            failed: entry.failed,
            by: entry.by,
            since: entry.since.unwrap_or(entry.until),
            until: entry.until,
            phase,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use tracer_model::{Actor, EntryHead, EntryKind, FailureReason, SocketId, Transport};

    use super::*;

    fn device() -> Device {
        Device::configured(Transport::Tcp, "10.0.0.2:1515")
    }

    fn operation(op: Op, goid: u64, phase: Phase, outcome: Option<Outcome>) -> Operation {
        let by = Actor {
            goid: Some(goid),
            ..Actor::default()
        };
        Operation {
            phase: Some(phase),
            outcome,
            ..Operation::new(op, device(), by, (0, 1))
        }
    }

    #[test]
    fn an_entry_is_taken_or_tried_or_was_in_the_queue_to_the_end() {
        use Outcome::{Ok as Done, Timeout};
        use Phase::{Request, Response};
        for (operations, expected) in [
            (vec![], vec![]),
            (vec![(Op::Write, 1, Request, Some(Done))], vec![]),
            // A connection that was reset, and the second attempt.
            (
                vec![
                    (Op::Write, 1, Request, Some(Outcome::Reset)),
                    (Op::Connect, 1, Request, Some(Done)),
                    (Op::Write, 1, Request, Some(Done)),
                ],
                vec![],
            ),
            (
                vec![(Op::Connect, 1, Request, Some(Timeout))],
                vec![(true, 1)],
            ),
            (vec![(Op::Lock, 1, Request, None)], vec![(false, 1)]),
            // A connection was opened, and what became of it was not seen.
            (vec![(Op::Connect, 1, Request, Some(Done))], vec![]),
            // It queued, and then it was tried.
            (
                vec![
                    (Op::Lock, 1, Request, Some(Done)),
                    (Op::Connect, 1, Request, None),
                ],
                vec![(true, 1)],
            ),
            // One sink an entry.
            (
                vec![
                    (Op::Lock, 1, Request, None),
                    (Op::Lock, 2, Response, Some(Done)),
                    (Op::Write, 2, Response, Some(Done)),
                ],
                vec![(false, 1)],
            ),
            (
                vec![(Op::Lock, 1, Request, None), (Op::Lock, 2, Response, None)],
                vec![(false, 1), (false, 2)],
            ),
        ] {
            let of = |(op, goid, phase, outcome)| operation(op, goid, phase, outcome);
            let operations: Vec<_> = operations.into_iter().map(of).collect();
            let found = untaken(&operations, &device());
            let found: Vec<_> = found
                .iter()
                .map(|entry| (entry.tried, entry.by.unwrap_or(0)))
                .collect();
            assert_eq!(found, expected, "{operations:?}");
        }
    }

    /// An HTTP server's answer comes when all of the entry was written, which is no attempt at the next one.
    #[test]
    fn what_an_http_server_rejects_is_the_entry_that_was_written() {
        use EntryKind::{Request, Response};
        for (rejected, expected) in [
            (
                vec![Request, Response],
                vec![Phase::Request, Phase::Response],
            ),
            (vec![Response], vec![Phase::Response]),
            (vec![Request], vec![Phase::Request]),
            (vec![], vec![]),
        ] {
            let mut operations = Vec::new();
            for kind in [Request, Response] {
                let written = Operation {
                    phase: None,
                    entry: Some(EntryHead {
                        kind: Some(kind),
                        ..EntryHead::default()
                    }),
                    socket: Some(SocketId { born: 1, slot: 1 }),
                    ..operation(Op::Write, 1, Phase::Request, Some(Outcome::Ok))
                };
                operations.push(written.clone());
                if rejected.contains(&kind) {
                    operations.push(Operation {
                        outcome: Some(Outcome::Error),
                        reported: Some(FailureReason::Status(503)),
                        ..written
                    });
                }
            }
            let found = untaken(&operations, &device());
            let found: Vec<_> = found.iter().map(|entry| entry.phase).collect();
            assert_eq!(found, expected);
        }
    }

    /// On a stripped server no stack says for which entry a sink queues.
    #[test]
    fn each_sink_has_an_entry_of_its_own_where_no_stack_says_which() {
        use Outcome::Timeout;
        for (operations, expected) in [
            // In the queue to the end, twice.
            (
                vec![(Op::Lock, 1, 0, None), (Op::Lock, 2, 0, None)],
                vec![(false, 1), (false, 2)],
            ),
            // One attempt within the entry's time, then the queue for the next entry.
            (
                vec![
                    (Op::Lock, 1, 0, None),
                    (Op::Connect, 1, 8, Some(Timeout)),
                    (Op::Lock, 2, 0, None),
                ],
                vec![(true, 1), (false, 2)],
            ),
            // The twin: goroutines that dial for one sink, at the same time.
            (
                vec![
                    (Op::Lock, 1, 0, None),
                    (Op::Connect, 3, 1, Some(Timeout)),
                    (Op::Connect, 4, 1, None),
                ],
                vec![(true, 4)],
            ),
        ] {
            let of = |(op, goid, parent, outcome)| Operation {
                phase: None,
                by: Actor {
                    goid: Some(goid),
                    parent: Some(parent),
                    ..Actor::default()
                },
                ..operation(op, goid, Phase::Request, outcome)
            };
            let operations: Vec<_> = operations.into_iter().map(of).collect();
            let found = untaken(&operations, &device());
            let found: Vec<_> = found
                .iter()
                .map(|entry| (entry.tried, entry.by.unwrap_or(0)))
                .collect();
            assert_eq!(found, expected, "{operations:?}");
        }
    }
}

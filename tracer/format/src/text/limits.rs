//! Which of the server's limits ended a wait.
//!
//! A dial or write ends with the device's `write_timeout`. Since Vault 1.15 an entry has a limit of its own, too, which also ends
//! the wait in a device's queue: 5 or 10 s (`vault/audit_broker.go`, `audit/broker.go`). A request has 90 s
//! (`DefaultMaxRequestDuration`).

use std::fmt::Write;

use tracer_model::{Hang, Nanos, Op, Outcome, Phase, Stall};

use super::seconds;

/// What the broker gives an entry, ns.
const ENTRY_LIMITS: [Nanos; 2] = [5_000_000_000, 10_000_000_000];

/// What the server gives a request, ns.
const REQUEST_LIMIT: Nanos = 90_000_000_000;

/// A timer is late by so much on a busy machine, ns. An attempt that is shorter was given no time at all.
const TIMER: Nanos = 20_000_000;

/// By how much what was measured may be off its limit.
fn is_about(measured: Nanos, limit: Nanos) -> bool {
    measured.abs_diff(limit) <= (limit / 50).max(TIMER)
}

/// A sentence for each limit that shows in the stalls of a hang; none where none does.
pub(super) fn limits(hang: &Hang) -> String {
    if !hang.device.transport.is_socket() {
        return String::new();
    }
    let attempt = attempt_limit(&hang.stalls);
    let write_timeout = attempt.filter(|limit| !is_of_entries(*limit, &hang.stalls));
    let mut text = String::new();
    if let Some(limit) = write_timeout {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            " Each attempt was given up after {:.2} s, the device's write_timeout.",
            seconds(limit)
        );
    }
    let phases = [Phase::Request, Phase::Response];
    let of_entry = phases
        .into_iter()
        .find_map(|phase| entry_limit(&hang.stalls, phase, (attempt, write_timeout)));
    if let Some(limit) = of_entry {
        let _ = write!(
            text,
            " The server gave the entry up after {:.0} s, its own limit for an entry, before the device took it.",
            seconds(limit)
        );
    }
    if is_about(hang.request.duration, REQUEST_LIMIT) {
        text.push_str(" The request ended at the server's limit for a request, 90 s.");
    }
    text
}

/// After how long attempts ended that timed out, if the longest agree, which nothing else has cut short.
fn attempt_limit(stalls: &[Stall]) -> Option<Nanos> {
    let timed_out = stalls
        .iter()
        .filter(|stall| stall.op != Op::Lock && stall.outcome == Some(Outcome::Timeout));
    let durations: Vec<_> = timed_out.map(|stall| stall.duration).collect();
    let longest = durations.iter().max().copied().filter(|d| *d > TIMER)?;
    let alike: Vec<_> = durations
        .into_iter()
        .filter(|duration| is_about(*duration, longest))
        .collect();
    // A timer is late, never early.
    alike.iter().min().copied().filter(|_| alike.len() >= 2)
}

/// Whether attempts that ended after so long did so by the entry's own limit: a dial has no more time than what is left of that,
/// and the second attempt none at all.
fn is_of_entries(limit: Nanos, stalls: &[Stall]) -> bool {
    let alike = |stall: &&Stall| stall.op != Op::Lock && is_about(stall.duration, limit);
    let is_one_each = [Phase::Request, Phase::Response].iter().all(|phase| {
        let of_phase = stalls.iter().filter(alike);
        of_phase.filter(|stall| stall.phase == *phase).count() <= 1
    });
    let are_dials = stalls.iter().filter(alike).all(|s| s.op == Op::Connect);
    let is_known = ENTRY_LIMITS.iter().any(|known| is_about(limit, *known));
    is_known && is_one_each && are_dials
}

/// The limit that ended the wait for one entry: what came last is time in the queue, or an attempt that was cut short.
/// `attempt`: after how long attempts ended, and whether that is the device's time-out.
fn entry_limit(
    stalls: &[Stall],
    phase: Phase,
    (attempt, write_timeout): (Option<Nanos>, Option<Nanos>),
) -> Option<Nanos> {
    let of_entry = || stalls.iter().filter(|stall| stall.phase == phase);
    let end = |stall: &Stall| stall.start + stall.duration;
    let first = of_entry().map(|stall| stall.start).min()?;
    // Of two that end at once, the attempt came out of the queue.
    let last = of_entry().max_by_key(|stall| (end(stall), stall.op != Op::Lock))?;
    let is_cut = match (last.op, attempt) {
        (Op::Lock, _) => last.dropped,
        _ if last.duration <= TIMER => last.outcome == Some(Outcome::Timeout),
        (_, Some(attempt)) if is_about(last.duration, attempt) => write_timeout.is_none(),
        (_, Some(attempt)) => last.duration < attempt,
        (_, None) => false,
    };
    let waited = end(last).saturating_sub(first);
    let limit = ENTRY_LIMITS
        .into_iter()
        .find(|limit| is_about(waited, *limit));
    limit.filter(|_| is_cut)
}

#[cfg(test)]
mod tests {
    use tracer_model::{Cause, Device, Evidence, RequestInfo, Transport};

    use super::*;

    const S: Nanos = 1_000_000_000;

    fn stall(op: Op, phase: Phase, (start, duration): (Nanos, Nanos), dropped: bool) -> Stall {
        Stall {
            op,
            phase,
            start,
            duration,
            uncertainty: 0,
            outcome: Some(if op == Op::Lock {
                Outcome::Ok
            } else {
                Outcome::Timeout
            }),
            errno: None,
            cause: Cause::SynUnanswered,
            evidence: Evidence::default(),
            behind: None,
            blocked_by: None,
            inferred: false,
            dropped,
        }
    }

    fn hang(stalls: Vec<Stall>, request: Nanos) -> Hang {
        Hang {
            id: None,
            start: 0,
            end: request,
            duration: request,
            device: Device::configured(Transport::Tcp, "10.0.0.2:1515"),
            request: RequestInfo {
                duration: request,
                ..RequestInfo::default()
            },
            stalls,
        }
    }

    #[test]
    fn a_limit_is_named_only_where_it_ended_the_wait() {
        use Phase::{Request, Response};
        let dial = |start, duration| stall(Op::Connect, Request, (start, duration), false);
        let queue = |duration, dropped| stall(Op::Lock, Response, (0, duration), dropped);
        for (stalls, request, expected) in [
            (
                vec![dial(0, 2 * S), dial(2 * S, 2 * S)],
                4 * S,
                &["2.00 s"][..],
            ),
            // A dial has no more than the entry's time; the twin is a time-out of as long, which both attempts have.
            (
                vec![
                    dial(0, 10 * S),
                    stall(Op::Connect, Response, (10 * S, 10 * S), false),
                ],
                20 * S,
                &["10 s"],
            ),
            (
                vec![dial(0, 10 * S), dial(10 * S, 10 * S)],
                20 * S,
                &["10.00 s"],
            ),
            // One attempt says nothing of the time-out, nor do two that differ.
            (vec![dial(0, 2 * S)], 2 * S, &[]),
            (vec![dial(0, 2 * S), dial(2 * S, S)], 3 * S, &[]),
            // The queue took all of the entry's time; or so long, and then the entry was taken.
            (vec![queue(10 * S + 30_000_000, true)], 11 * S, &["10 s"]),
            (vec![queue(5 * S, true)], 6 * S, &["5 s"]),
            (vec![queue(10 * S, false)], 11 * S, &[]),
            (vec![queue(7 * S, true)], 8 * S, &[]),
            // The last attempt is cut short.
            (
                vec![dial(0, 4 * S), dial(4 * S, 4 * S), dial(8 * S, 2 * S)],
                11 * S,
                &["4.00 s", "10 s"],
            ),
            (vec![dial(0, S)], 90 * S + 5_000_000, &["90 s"]),
            // It came out of the queue when its time was over: the dials say nothing of the time-out.
            (
                vec![
                    dial(10 * S, 0),
                    stall(Op::Lock, Request, (0, 10 * S), false),
                    stall(Op::Connect, Response, (20 * S, 2_000_000), false),
                ],
                20 * S,
                &["10 s"],
            ),
        ] {
            let text = limits(&hang(stalls, request));
            let sentences = text.matches('.').count() - text.matches(".0").count();
            for figure in expected {
                assert!(text.contains(figure), "{figure}: {text}");
            }
            assert_eq!(sentences, expected.len(), "{text}");
        }
    }
}

//! Attempts to connect that fail before `connect()` returns.

use super::*;

/// What the socket's state shows of both attempts, and what `connect()` returns: both are of one failure.
#[test]
fn what_a_state_and_connect_show_is_one_failure() {
    for (state, returned, cause, errno) in [
        // A program for this control group forbids it; the socket's state does not change.
        (None, Some(1), Cause::Unknown, 1),
        (None, Some(113), Cause::Unreachable, 113),
        // No local port is free: the kernel had begun to connect.
        (Some(0), Some(99), Cause::Unknown, 99),
        (Some(113), Some(113), Cause::Unreachable, 113),
        (Some(111), Some(111), Cause::Refused, 111),
        // The twin: the server gave up.
        (Some(0), None, Cause::Timeout, 115),
    ] {
        let mut story = Story::new();
        known_device(&mut story);
        story.requested(20).after(MS);
        for number in [2, 3] {
            if let Some(errno) = state {
                story.connects(number, 20).after(MS / 100);
                story.happens(EventKind::State {
                    socket: log_socket(number),
                    by: Some(goroutine(20)),
                    old: TcpState::SynSent,
                    new: TcpState::Close,
                    errno,
                    tcp: None,
                });
            }
            if let Some(errno) = returned {
                story.happens(EventKind::ConnectFailed {
                    socket: log_socket(number),
                    by: goroutine(20),
                    errno,
                });
            }
        }
        story.after(MS).answered(20).nothing_is_found();
        let [refusal] = story.refusals()[..] else {
            panic!("{state:?} {returned:?}: {:?}", story.findings);
        };
        let shown = (refusal.cause, refusal.errno);
        assert_eq!(shown, (cause, Some(errno)), "{state:?} {returned:?}");
        let incidents = story.incidents_after(20);
        let [incident] = &incidents[..] else {
            panic!("{state:?} {returned:?}: {incidents:?}");
        };
        let shown = (incident.cause, incident.untaken.failed);
        assert_eq!(shown, (cause, Some(1)), "{state:?} {returned:?}");
    }
}

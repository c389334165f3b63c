//! Entries that the server's own library gives up.

use super::story::*;
use tracer_model::{Cause, EntryKind, Nanos, Socket, Transport};

/// go-syslog gives a write 20 ms (`localDeadline`), connects again, gives the second write as long, and keeps that socket.
#[test]
fn an_entry_that_a_syslog_device_gave_up_is_not_taken_with_the_next() {
    let log = |born: Nanos| Socket {
        transport: Transport::Unix,
        path: Some("/dev/log".to_owned()),
        remote: None,
        ..socket(born, false, LOG)
    };
    // EAGAIN.
    let full = -11;
    for second_fails in [true, false] {
        let mut story = Story::new();
        story.requested(20).after(MS);
        let request = || Some(entry(EntryKind::Request));
        story.sends(log(1), 20, (full, 900), request());
        story.after(20 * MS);
        if second_fails {
            story.sends(log(2), 20, (full, 900), request());
            story.after(21 * MS);
        } else {
            story.sends(log(2), 20, (900, 900), request());
        }
        let response = Some(entry(EntryKind::Response));
        story.sends(log(2), 20, (900, 900), response);
        story.after(MS).answered(20).nothing_is_found();
        let refusals = story.refusals();
        assert_eq!(refusals.len(), usize::from(second_fails));
        if let [refusal] = refusals[..] {
            assert_eq!(refusal.cause, Cause::PeerFull);
            assert_eq!(refusal.duration, 41 * MS);
        }
    }
}

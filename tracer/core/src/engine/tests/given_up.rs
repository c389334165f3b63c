//! Entries that the server's own library gives up.

use super::story::*;
use tracer_model::{
    Cause, Device, DeviceFailure, EntryKind, EventKind, FailureReason, Nanos, Phase, Socket,
    Transport,
};

/// EAGAIN.
const FULL: i64 = -11;

fn log(born: Nanos) -> Socket {
    Socket {
        transport: Transport::Unix,
        path: Some("/dev/log".to_owned()),
        remote: None,
        ..socket(born, false, LOG)
    }
}

/// go-syslog gives a write 20 ms (`localDeadline`), connects again, gives the second write as long, and keeps that socket.
#[test]
fn an_entry_that_a_syslog_device_gave_up_is_not_taken_with_the_next() {
    for second_fails in [true, false] {
        let mut story = Story::new();
        story.requested(20).after(MS);
        let request = || Some(entry(EntryKind::Request));
        story.sends(log(1), 20, (FULL, 900), request());
        story.after(20 * MS);
        if second_fails {
            story.sends(log(2), 20, (FULL, 900), request());
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

/// Nothing shows when a Unix socket is closed: the server's log says that the entry failed, or the next writer has the device's lock.
#[test]
fn a_wait_for_a_unix_socket_ends_when_the_server_says_so_or_the_next_one_writes() {
    for (says, uncertainty) in [(true, 0), (false, 50 * MS)] {
        let mut story = Story::new();
        story.requested(20).requested(21).after(MS);
        let entry_of = |goid: u64| Some(named(&format!("id-{goid}"), EntryKind::Request));
        story.sends(log(1), 20, (FULL, 900), entry_of(20));
        story.after(100 * MS);
        story.sends(log(1), 20, (FULL, 900), entry_of(20));
        story.after(100 * MS);
        if says {
            let device = Device::new(Transport::Unix, "/dev/log");
            let failure = DeviceFailure {
                device: Some(device),
                ..DeviceFailure::of(FailureReason::Timeout)
            };
            story.happens(EventKind::DevicesFailed {
                by: goroutine(20),
                phase: Some(Phase::Request),
                failures: vec![failure],
            });
        }
        story.sends(log(1), 21, (900, 900), entry_of(21));
        story.after(MS).answered(20).answered(21).nothing_is_found();
        let hangs = story.hangs();
        assert_eq!(hangs.len(), 1, "{:?}", story.findings);
        let found: Nanos = hangs[0].stalls.iter().map(|stall| stall.uncertainty).sum();
        assert_eq!(found, uncertainty);
        assert_eq!(hangs[0].duration, 200 * MS - uncertainty, "{hangs:?}");
    }
}

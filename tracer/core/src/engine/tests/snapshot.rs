//! How things stand at moments of made-up stories.

use super::*;
use crate::BufferedActivity;
use tracer_model::{
    BufferedTotals, Condition, DeviceSnapshot, Event, Nanos, SendBuffer, Session, Tcp,
};

fn device_state(story: &Story) -> DeviceSnapshot {
    let mut devices = story.core.snapshot(story.now).devices;
    assert_eq!(devices.len(), 1, "{devices:?}");
    devices.remove(0)
}

/// A whole entry of 900 bytes; `end` is the sequence number behind it, `una` what is not acknowledged.
fn written(una: u32, end: u32) -> EventKind {
    EventKind::Send {
        socket: log_socket(1),
        by: goroutine(20),
        result: 900,
        requested: Some(900),
        entry: Some(entry(EntryKind::Request)),
        tcp: Some(Tcp {
            una,
            nxt: end,
            end,
            queued: Some(end.wrapping_sub(una)),
            limit: Some(87_040),
            ..Tcp::default()
        }),
        status: None,
    }
}

fn condition(story: &Story) -> (Option<Condition>, Option<Nanos>) {
    let state = device_state(story);
    (state.condition, state.since)
}

#[test]
fn a_device_that_was_named_and_not_seen_is_in_no_condition() {
    let mut story = Story::new();
    story.happens(EventKind::Session(Session {
        declared: vec![Device::tcp(LOG.parse().expect("an address"))],
        ..Session::default()
    }));
    let state = device_state(&story);
    assert_eq!((state.condition, state.buffer), (None, None));
    assert_eq!((state.entries, state.bytes), (None, None));
}

#[test]
fn a_stall_grows_and_is_gone_when_the_device_works() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20);
    let began = story.now;
    story.sends(
        log_socket(1),
        20,
        (EAGAIN, 900),
        Some(entry(EntryKind::Request)),
    );
    story.after(50 * MS);
    assert!(story.core.snapshot(story.now).stalls.is_empty());
    for _ in 0..2 {
        story.after(S);
        let state = story.core.snapshot(story.now);
        let [stall] = state.stalls.as_slice() else {
            panic!("{:?}", state.stalls);
        };
        assert_eq!(stall.blocked, story.now - began);
        assert_eq!((state.blocked, state.under_way), (1, Some(1)));
        assert_eq!(condition(&story), (Some(Condition::Stalled), Some(began)));
    }
    story.sends(log_socket(1), 20, (900, 900), None);
    assert_eq!(condition(&story), (Some(Condition::Works), None));
    story.logs(1, 20, EntryKind::Response).answered(20);
    let state = story.core.snapshot(story.now);
    assert_eq!((state.blocked, state.under_way), (0, Some(0)));
    assert_eq!(state.totals.requests, 2);
    assert_eq!(device_state(&story).entries, Some(4));
}

#[test]
fn between_two_waits_of_one_request_it_stays_blocked_for_all_of_them() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).connects(2, 20);
    story.after(2 * S).gives_up_connecting(2, 20);
    story.connects(3, 20).after(MS);
    let stall = &story.core.snapshot(story.now).stalls[0];
    assert_eq!(stall.blocked, 2 * S + MS);
    assert_eq!(stall.op, Op::Connect);
}

#[test]
fn a_device_that_refuses_is_failing_until_it_works() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).connects(2, 20);
    story.happens(EventKind::Reset {
        socket: log_socket(2),
    });
    story.gives_up_connecting(2, 20).answered(20);
    let state = device_state(&story);
    assert_eq!(state.condition, Some(Condition::Failing));
    assert_eq!(state.cause, Some(Cause::Refused));
    story.requested(20).logs(3, 20, EntryKind::Request);
    assert_eq!(condition(&story), (Some(Condition::Works), None));
}

#[test]
fn a_peer_that_acknowledges_nothing_lets_the_buffer_fill() {
    let mut story = Story::new();
    story.requested(20).happens(written(0, 900));
    let began = story.now;
    story.after(1500 * MS).happens(written(0, 1800));
    assert_eq!(condition(&story), (Some(Condition::Filling), Some(began)));
    let state = device_state(&story);
    let buffer = SendBuffer {
        at: story.now,
        queued: 1800,
        limit: 87_040,
    };
    assert_eq!(state.buffer, Some(buffer));
    assert_eq!((state.entries, state.bytes), (Some(2), Some(1800)));
    story.after(S).happens(written(1800, 2700));
    assert_eq!(condition(&story), (Some(Condition::Works), None));
}

#[test]
fn a_connection_that_the_server_closes_is_closed() {
    let mut story = Story::new();
    story.requested(20).happens(written(0, 900));
    story.happens(written(900, 1800)).after(S);
    story.gives_up_writing(1, 20);
    let state = device_state(&story);
    assert_eq!(state.condition, Some(Condition::Closed));
    assert_eq!(state.since, Some(story.now));
    assert_eq!(state.buffer, None);
}

/// The sequence numbers tell what was held back, and the sum is the same when it is told after all.
#[test]
fn what_is_held_back_is_counted_by_sequence_numbers() {
    let mut story = Story::new();
    story.requested(20).happens(written(u32::MAX - 99, 800));
    let buffered = BufferedTotals {
        requests: 4,
        audit_writes: 9,
        ..BufferedTotals::default()
    };
    story.after(S);
    let meanwhile = BufferedActivity {
        latest: vec![Event {
            at: story.now,
            what: written(8000, 8900),
        }],
        totals: buffered.clone(),
    };
    let state = story.core.snapshot_while_buffering(story.now, &meanwhile);
    let device = &state.devices[0];
    assert_eq!((device.entries, device.bytes), (Some(10), Some(9000)));
    assert_eq!(
        device.buffer.map(|b| (b.at, b.queued)),
        Some((story.now, 900))
    );
    assert_eq!(state.totals.audit_writes, 10);
    assert_eq!((state.totals.requests, state.under_way), (4, None));
    story.happens(EventKind::BufferingEnded(buffered));
    let state = device_state(&story);
    assert_eq!((state.entries, state.bytes), (Some(10), Some(900)));
    story.after(S).happens(written(8900, 9800));
    let state = device_state(&story);
    assert_eq!((state.entries, state.bytes), (Some(11), Some(9900)));
}

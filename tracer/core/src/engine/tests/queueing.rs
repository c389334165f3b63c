//! Requests that queue behind a stall, and what looks like it.

use tracer_model::{
    Actor, Attribution, Cause, Device, EntryKind, EventKind, GoroutineSample, Hang, Phase,
    TcpState, Transport, WaitReason,
};

use super::story::*;

/// The second request, behind the dial of the first; neither is named.
pub(super) fn queues_behind(story: &mut Story) {
    for _ in 0..3 {
        story.after(S / 2).happens(EventKind::GoroutinesSampled {
            goroutines: vec![parked(21, WaitReason::Lock, None, None)],
            handlers: None,
        });
    }
    story.after(S / 2).gives_up_connecting(2, 20);
    story.logs(3, 21, EntryKind::Response).answered(21);
    story.nothing_is_found();
}

#[test]
fn a_request_that_waits_for_the_lock_is_queued_behind_the_stall() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).connects(2, 20).requested(21);
    queues_behind(&mut story);
    let hang = story.hangs()[0];
    assert_eq!(chain(hang), "lock 2.0 | ");
    assert_eq!(hang.request.tie, Some(Attribution::Queued));
    assert_eq!(hang.cause(), Cause::SynUnanswered);
}

/// The goroutine queues, as so many samples of every 0.1 s find.
fn is_found_queueing(story: &mut Story, goid: u64, samples: usize) {
    let device = || Some(Device::configured(Transport::Tcp, LOG));
    for _ in 0..samples {
        story.after(S / 10).happens(EventKind::GoroutinesSampled {
            goroutines: vec![parked(
                goid,
                WaitReason::Lock,
                Some(Phase::Request),
                device(),
            )],
            handlers: None,
        });
    }
}

/// Found by `cargo xtask truth`: why the holder was stalled is known only when it goes on, and that it did is no failure.
#[test]
fn a_wait_for_the_lock_has_the_cause_of_a_stall_that_went_well_in_the_end() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).connects(2, 20).requested(21);
    is_found_queueing(&mut story, 21, 20);
    story.state(log_socket(2), 20, TcpState::SynSent, TcpState::Established);
    story.logs(2, 20, EntryKind::Request).after(MS);
    story.logs(2, 21, EntryKind::Response).answered(21);
    story.nothing_is_found();
    let hang = story.hangs()[0];
    assert_eq!(chain(hang), "lock 2.0 | ");
    assert_eq!(hang.cause(), Cause::SlowPath);
}

/// Who comes when the stall is over waits for those who queued meanwhile; who comes later waits for another reason.
#[test]
fn who_queues_behind_those_that_a_stall_made_queue_has_its_cause() {
    for (later, expected) in [(MS, Cause::SlowPath), (S, Cause::Unknown)] {
        let mut story = Story::new();
        known_device(&mut story);
        story.requested(20).connects(2, 20).after(2 * S);
        story.state(log_socket(2), 20, TcpState::SynSent, TcpState::Established);
        story.logs(2, 20, EntryKind::Request).answered(20);
        story.after(later).requested(21);
        is_found_queueing(&mut story, 21, 4);
        story.logs(2, 21, EntryKind::Response).answered(21);
        story.nothing_is_found();
        let of_21: Vec<_> = story
            .hangs()
            .into_iter()
            .filter(|hang| chain(hang) == "lock 0.4 | ")
            .map(Hang::cause)
            .collect();
        assert_eq!(of_21, [expected], "{later}");
    }
}

#[test]
fn a_request_that_is_silent_for_another_reason_is_not_queued() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).connects(2, 20).requested(21);
    story.after(2 * S).happens(EventKind::GoroutinesSampled {
        goroutines: Vec::new(),
        handlers: None,
    });
    story.gives_up_connecting(2, 20);
    story.logs(3, 21, EntryKind::Response).answered(21);
    assert!(story.hangs().is_empty());
}

/// Attached when the device was dead already: no entry says that it is one, but the stack does.
#[test]
fn the_code_that_waits_says_which_devices_there_are() {
    let mut story = Story::new();
    let device = || Device::configured(Transport::Tcp, LOG);
    story
        .requested(20)
        .connects(2, 20)
        .after(S)
        .happens(EventKind::Tick);
    story.happens(EventKind::GoroutinesSampled {
        goroutines: vec![parked(
            20,
            WaitReason::Connect,
            Some(Phase::Request),
            Some(device()),
        )],
        handlers: None,
    });
    story.after(S).gives_up_connecting(2, 20).answered(20);
    story.not_found();
    assert_eq!(story.hangs()[0].device, device());
}

#[test]
fn the_stack_says_for_which_entry_a_request_queues() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).requested(21);
    for _ in 0..2 {
        story.after(S / 4);
        story.happens(EventKind::GoroutinesSampled {
            goroutines: vec![parked(
                21,
                WaitReason::Lock,
                Some(Phase::Response),
                Some(Device::configured(Transport::Tcp, LOG)),
            )],
            handlers: None,
        });
    }
    story
        .after(S / 2)
        .logs(3, 21, EntryKind::Response)
        .answered(21);
    assert_eq!(chain(story.hangs()[0]), " | lock 1.0");
}

/// Found in a live run, of a request that another server of the cluster had forwarded: its connection had heard of another
/// one after the dial had begun, and that was taken for its beginning.
#[test]
fn a_request_that_is_found_late_is_no_shorter_than_its_stall() {
    let mut story = Story::new();
    known_device(&mut story);
    // Goroutine 60 serves the connection, 61 the stream; 62, which it started, is in the device.
    let dials = |new, old| EventKind::State {
        socket: log_socket(2),
        by: Some(Actor {
            parent: Some(61),
            ..goroutine(62)
        }),
        old,
        new,
        errno: 0,
        tcp: None,
    };
    story.requested(60).answered(60).after(MS);
    story.happens(dials(TcpState::SynSent, TcpState::Close));
    story.after(40 * MS).requested(60).after(20 * MS);
    story.happens(EventKind::GoroutinesSampled {
        goroutines: vec![GoroutineSample {
            ancestors: vec![61, 60],
            request: Some(61),
            ..parked(62, WaitReason::Connect, None, None)
        }],
        handlers: None,
    });
    story
        .after(2 * S)
        .happens(dials(TcpState::Close, TcpState::SynSent));
    story
        .after(4 * S)
        .happens(EventKind::Tick)
        .nothing_is_found();
    let hang = story.hangs()[0];
    assert_eq!(hang.request.tie, Some(Attribution::Lineage));
    assert_eq!(hang.request.start, hang.start);
    assert!(hang.duration <= hang.request.duration, "{hang:?}");
}

/// Found under load: of clients that ask again at once, the goroutine that looks whether they go reads the next request.
#[test]
fn a_connection_whose_next_request_others_read_is_still_one_at_a_time() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).answered(20);
    for reader in 900..910 {
        // Within TLS all of it, so that its own goroutine reads nothing.
        story.after(MS).happens(EventKind::Receive {
            socket: client_socket(20),
            by: Actor {
                parent: Some(20),
                ..goroutine(reader)
            },
            bytes: 300,
            handshake: false,
        });
        story.logs(1, 20, EntryKind::Request);
        story.logs(1, 20, EntryKind::Response).answered(20);
    }
    story.after(MS).requested(20);
    story.dials_twice(2, 20).dials_twice(4, 20).answered(20);
    story.nothing_is_found();
    let hang = story.hangs()[0];
    assert_eq!(hang.request.http_version, Some("1.1"));
    assert_eq!(hang.request.tie, Some(Attribution::Goroutine));
}

/// Found in a live run on a busy machine: a request that has just given up a dial takes a lock of the library on its way out of
/// the device, and a sample finds it there.
#[test]
fn who_was_in_the_device_itself_does_not_queue_for_it() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).connects(2, 20);
    story.after(S).gives_up_connecting(2, 20).after(2 * MS);
    story.happens(EventKind::GoroutinesSampled {
        goroutines: vec![parked(
            20,
            WaitReason::Lock,
            Some(Phase::Request),
            Some(Device::configured(Transport::Tcp, LOG)),
        )],
        handlers: None,
    });
    story.after(2 * MS).answered(20).not_found();
    assert_eq!(chain(story.hangs()[0]), "connect 1.0 | ");
}

/// So it is where the device's code runs in goroutines of its own, and dials in another: found in a live run on a busy machine.
/// Another entry's goroutine of the same request does queue.
#[test]
fn a_goroutine_that_was_in_the_device_for_a_request_does_not_queue_for_it() {
    for (dials, found, place, queues) in [
        ((31, 20), 31, WaitReason::Lock, false),
        ((31, 20), 31, WaitReason::Other, false),
        ((32, 31), 31, WaitReason::Other, false),
        ((31, 20), 33, WaitReason::Lock, true),
    ] {
        let mut story = Story::new();
        known_device(&mut story);
        let sink = |goid, place| GoroutineSample {
            ancestors: vec![20],
            request: Some(20),
            frames: vec!["event.(*SocketSink).reconnect".to_owned()],
            ..parked(
                goid,
                place,
                None,
                Some(Device::configured(Transport::Tcp, LOG)),
            )
        };
        let dial = |story: &mut Story, old, new| {
            let by = Actor {
                parent: Some(dials.1),
                ..goroutine(dials.0)
            };
            story.happens(EventKind::State {
                socket: log_socket(2),
                by: Some(by),
                old,
                new,
                errno: 0,
                tcp: None,
            });
        };
        let sampled = |story: &mut Story, goroutine| {
            story.happens(EventKind::GoroutinesSampled {
                goroutines: vec![goroutine],
                handlers: None,
            });
        };
        story.requested(20);
        dial(&mut story, TcpState::Close, TcpState::SynSent);
        sampled(story.after(S / 2), sink(31, WaitReason::Connect));
        story.after(S / 2);
        dial(&mut story, TcpState::SynSent, TcpState::Close);
        sampled(story.after(2 * MS), sink(found, place));
        story.after(100 * MS).answered(20).nothing_is_found();
        let chain = chain(story.hangs()[0]);
        assert_eq!(
            chain.contains("lock"),
            queues,
            "{dials:?} {found} {place:?}: {chain}"
        );
    }
}

/// Of three that queue, the one that has given up its dial before the second one came is not what that waited for.
#[test]
fn a_request_queues_behind_who_is_in_the_device_meanwhile() {
    for (held_on, expected) in [(0, "the second"), (15 * MS, "the first")] {
        let mut story = Story::new();
        known_device(&mut story);
        let called = |goid, place, name: &str| GoroutineSample {
            entry: Some(named(name, EntryKind::Request)),
            ..parked(goid, place, None, None)
        };
        let sampled = |story: &mut Story, goroutines| {
            story.happens(EventKind::GoroutinesSampled {
                goroutines,
                handlers: None,
            });
        };
        story.requested(20).connects(2, 20).after(S);
        sampled(
            &mut story,
            vec![called(20, WaitReason::Connect, "the first")],
        );
        let since = story.requested(21).requested(22).now + 10 * MS;
        let queues = || GoroutineSample {
            since: Some(since),
            device: Some(Device::configured(Transport::Tcp, LOG)),
            ..called(22, WaitReason::Lock, "the third")
        };
        story.after(held_on).gives_up_connecting(2, 20);
        sampled(story.after(20 * MS - held_on), vec![queues()]);
        story.after(5 * MS).connects(3, 21).after(100 * MS);
        let second = called(21, WaitReason::Connect, "the second");
        sampled(&mut story, vec![second, queues()]);
        story.after(2 * S).gives_up_connecting(3, 21);
        story.connects(4, 22).after(S).gives_up_connecting(4, 22);
        story.answered(20).answered(21).answered(22);
        story.nothing_is_found();
        let hangs = story.hangs();
        let third = hangs
            .iter()
            .find(|hang| hang.request.id.as_deref() == Some("the third"));
        let stall = &third.expect("it queued").stalls[0];
        assert_eq!(stall.blocked_by.as_deref(), Some(expected), "{stall:?}");
    }
}

//! A server that is started again: its goroutines have the IDs that its predecessor's had.

use super::*;
use tracer_model::{GoroutineSample, HandlerSample, Nanos, Session, Transport};

/// The request's own goroutine, and the one that writes its entries.
const HANDLER: u64 = 20;
const SINK: u64 = 23;

/// The server is started again after this pause, ns.
pub(super) fn restarted_after(story: &mut Story, pause: Nanos) {
    story.happens(EventKind::ServerEnded).after(pause);
    let session = Session {
        began: story.now,
        threshold: 100 * MS,
        stacks: true,
        ..Session::default()
    };
    story.happens(EventKind::Restarted(session));
}

/// The sink waits in its dial for so long.
fn dials(story: &mut Story, socket: u64, lasting: Nanos) {
    let sink = || GoroutineSample {
        ancestors: vec![SINK - 1, HANDLER, 1],
        request: Some(HANDLER),
        ..parked(
            SINK,
            WaitReason::Connect,
            None,
            Some(Device::configured(Transport::Tcp, LOG)),
        )
    };
    let handler = || HandlerSample {
        goid: HANDLER,
        ancestors: vec![1],
        phase: None,
        entry: None,
    };
    story.connects(socket, SINK);
    for _ in 0..lasting / (100 * MS) {
        story.after(100 * MS).happens(EventKind::GoroutinesSampled {
            goroutines: vec![sink()],
            handlers: Some(vec![handler()]),
        });
    }
}

fn blocked_by_a_dial(story: &mut Story, socket: u64) {
    story.requested(HANDLER);
    dials(story, socket, 2 * S);
    story.gives_up_connecting(socket, SINK).after(MS);
    story.answered(HANDLER).nothing_is_found();
}

/// Found in a live run: what sinks of the next server did counted for nobody, as what outlives an answered request.
#[test]
fn a_sink_of_the_next_server_works_for_its_own_request() {
    let mut story = Story::new();
    known_device(&mut story);
    blocked_by_a_dial(&mut story, 2);
    restarted_after(&mut story, S);
    blocked_by_a_dial(&mut story, 3);
    let hangs = story.hangs();
    let durations: Vec<_> = hangs.iter().map(|hang| hang.duration / MS).collect();
    assert_eq!(durations, [2000, 2000]);
    let clients = hangs
        .iter()
        .map(|hang| hang.request.client.map(|c| c.port()));
    assert_eq!(clients.collect::<Vec<_>>(), [Some(50_020); 2]);
}

/// The twin: in the same server it is the sink that has outlived its request.
#[test]
fn a_sink_that_outlives_its_request_works_for_nobody() {
    let mut story = Story::new();
    known_device(&mut story);
    blocked_by_a_dial(&mut story, 2);
    story.connects(3, SINK).after(2 * S);
    story.gives_up_connecting(3, SINK).after(10 * S);
    story.happens(EventKind::Tick).nothing_is_found();
    assert_eq!(story.hangs().len(), 1, "{:?}", story.findings);
}

/// Killed in mid-stall: the device is not stalled since then, and nobody of the next server queues for it.
#[test]
fn a_stall_ends_with_the_server_that_was_stalled() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(HANDLER);
    dials(&mut story, 2, S);
    restarted_after(&mut story, S);
    let began = story.after(S).requested(40).now;
    let queued = || parked(40, WaitReason::Lock, None, None);
    story.requested(30).after(MS).connects(3, 30);
    for _ in 0..20 {
        story.after(100 * MS).happens(EventKind::GoroutinesSampled {
            goroutines: vec![queued()],
            handlers: None,
        });
    }
    story.gives_up_connecting(3, 30).after(MS).answered(30);
    story.answered(40).nothing_is_found();
    let hangs = story.hangs();
    let of_queued = hangs.iter().find(|hang| hang.stalls[0].op == Op::Lock);
    let hang = of_queued.expect("it queued");
    assert!(hang.start >= began, "{hang:#?}");
    assert_eq!(story.core.snapshot(story.now).stalls, [], "{hang:#?}");
}

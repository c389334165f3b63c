//! Sampler at the goroutines that come while these move on.

use super::*;
use crate::Query;
use tracer_model::{
    EntryHead, Event, GoroutineSample, HandlerSample, Hang, Nanos, Transport, WaitReason,
};

/// A look that found these then, and is told now.
fn looked(story: &mut Story, at: Nanos, goroutines: Vec<GoroutineSample>) {
    let now = std::mem::replace(&mut story.now, at);
    story.happens(EventKind::GoroutinesSampled {
        goroutines,
        handlers: None,
    });
    story.now = now;
}

/// The first request's dial ends, and the one that queued behind it dials in vain too, of which nobody hears an answer.
fn hands_over(story: &mut Story) {
    story.gives_up_connecting(2, 20).connects(3, 21);
    story.after(2 * S).gives_up_connecting(3, 21);
    story
        .after(600 * S)
        .happens(EventKind::Tick)
        .nothing_is_found();
}

/// The second request queues since 40 ms after the first one's dial began.
fn queued(since: Nanos) -> GoroutineSample {
    GoroutineSample {
        since: Some(since),
        ..parked(21, WaitReason::Lock, None, None)
    }
}

#[test]
fn the_mutex_says_since_when_a_request_queues() {
    let mut story = Story::new();
    known_device(&mut story);
    story
        .requested(20)
        .connects(2, 20)
        .after(30 * MS)
        .requested(21);
    let since = story.after(10 * MS).now;
    for _ in 0..2 {
        let goroutines = vec![queued(since)];
        story.after(100 * MS).happens(EventKind::GoroutinesSampled {
            goroutines,
            handlers: None,
        });
    }
    let end = story.after(1760 * MS).gives_up_connecting(2, 20).now;
    story.logs(3, 21, EntryKind::Response).answered(21);
    story.nothing_is_found();
    let stall = &story.hangs()[0].stalls[0];
    assert_eq!(
        (stall.start, stall.duration, stall.uncertainty),
        (since, end - since, 0)
    );
}

/// Found by `cargo xtask truth`: of many clients always another one had just asked, and nobody saw a pipe that was full.
#[test]
fn requests_that_keep_coming_put_off_no_sample() {
    let mut story = Story::new();
    let began = story.now;
    let mut asks = |goid| {
        story.after(50 * MS);
        let requested = EventKind::Receive {
            socket: client_socket(goid),
            by: goroutine(goid),
            bytes: 100,
            handshake: false,
        };
        let asked = [requested, EventKind::Tick].into_iter().any(|what| {
            let step = story.core.on(&Event {
                at: story.now,
                what,
            });
            let mut queries = step.queries.iter();
            queries.any(|query| matches!(query, Query::Goroutines))
        });
        asked.then_some(story.now - began)
    };
    let first = (100..140).find_map(&mut asks);
    assert!(first.is_some_and(|after| after <= 300 * MS), "{first:?}");
}

/// Found under load: of several streams of one connection, what had been received last was taken for the beginning of each.
#[test]
fn a_request_that_was_not_seen_to_begin_began_before_it_queued() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).connects(2, 20);
    let since = story.after(MS).now;
    story.after(5 * MS).requested(60);
    for _ in 0..2 {
        let goroutines = vec![GoroutineSample {
            ancestors: vec![60],
            ..queued(since)
        }];
        story.after(100 * MS).happens(EventKind::GoroutinesSampled {
            goroutines,
            handlers: None,
        });
    }
    hands_over(story.after(1800 * MS));
    let hangs = story.hangs();
    let of_queued = |hang: &&&Hang| hang.stalls[0].op == Op::Lock;
    let hang = hangs.iter().find(of_queued).expect("it queued");
    assert_eq!((hang.start, hang.request.start), (since, since));
    assert!(hang.duration <= hang.request.duration, "{hang:#?}");
}

/// It says so of the time before the device stalled too, in which it blocked nothing.
#[test]
fn nobody_queues_for_a_device_that_is_not_stalled() {
    let mut story = Story::new();
    known_device(&mut story);
    let since = story.requested(21).now;
    let stalled = story.after(300 * MS).requested(20).connects(2, 20).now;
    for _ in 0..2 {
        let goroutines = vec![queued(since)];
        story.after(100 * MS).happens(EventKind::GoroutinesSampled {
            goroutines,
            handlers: None,
        });
    }
    story.after(1800 * MS).gives_up_connecting(2, 20);
    story.logs(3, 21, EntryKind::Response).answered(21);
    story.nothing_is_found();
    assert_eq!(story.hangs()[0].stalls[0].start, stalled);
}

/// Found under load: the second dial had failed, and its goroutine waited for a processor when it was met.
#[test]
fn who_is_met_on_the_way_out_of_a_dial_has_not_dialled_again() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).dials_twice(2, 20);
    let device = Device::configured(Transport::Tcp, LOG);
    let goroutines = vec![parked(20, WaitReason::Connect, None, Some(device))];
    story.after(MS).happens(EventKind::GoroutinesSampled {
        goroutines,
        handlers: None,
    });
    story
        .after(53 * MS)
        .dials_twice(4, 20)
        .answered(20)
        .nothing_is_found();
    assert_eq!(
        chain(story.hangs()[0]),
        "connect 2.0, connect 2.0 | connect 2.0, connect 2.0"
    );
}

/// Found under load: the answer was sent before what a look had found was told, which then seemed to be a request of nobody
/// that had dialled.
#[test]
fn a_look_that_crosses_an_answer_is_of_no_request() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).dials_twice(2, 20).connects(4, 20);
    let at = story.after(2 * S).happens(EventKind::Tick).now;
    story.after(MS).gives_up_connecting(4, 20).connects(5, 20);
    story.after(MS).gives_up_connecting(5, 20).answered(20);
    let device = Device::configured(Transport::Tcp, LOG);
    looked(
        &mut story,
        at,
        vec![parked(20, WaitReason::Connect, None, Some(device))],
    );
    story.after(S).summary();
    story.nothing_is_found();
    assert_eq!(story.hangs().len(), 1, "{:#?}", story.hangs());
}

/// Its dial was seen before it was known whose goroutine that is; by then another request queued behind it.
#[test]
fn a_holder_that_was_thought_to_be_another_is_named() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).requested(21);
    story.connects(2, 62).after(50 * MS);
    let queues = || parked(21, WaitReason::Lock, None, None);
    story.happens(EventKind::GoroutinesSampled {
        goroutines: vec![queues()],
        handlers: None,
    });
    let of_request = GoroutineSample {
        ancestors: vec![61, 20],
        request: Some(20),
        entry: Some(entry(EntryKind::Request)),
        ..parked(62, WaitReason::Connect, None, None)
    };
    let goroutines = vec![queues(), of_request];
    story.after(100 * MS).happens(EventKind::GoroutinesSampled {
        goroutines,
        handlers: None,
    });
    story.after(2 * S).gives_up_connecting(2, 62);
    story.sends(
        log_socket(3),
        21,
        (900, 900),
        Some(EntryHead {
            id: Some("another".to_owned()),
            ..entry(EntryKind::Response)
        }),
    );
    story.answered(20).answered(21).nothing_is_found();
    let waited = story
        .hangs()
        .into_iter()
        .find(|hang| hang.request.tie == Some(Attribution::Queued));
    let stall = &waited.expect("it queued").stalls[0];
    assert_eq!(stall.blocked_by, entry(EntryKind::Request).id);
}

/// Found under load: the answers to both went in one frame, and who had queued was told of before the other was known.
#[test]
fn a_holder_that_ends_in_the_same_moment_is_named() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(21).requested(20).connects(2, 20);
    let named = |id: &str| {
        Some(EntryHead {
            id: Some(id.to_owned()),
            ..entry(EntryKind::Request)
        })
    };
    for _ in 0..2 {
        let queues = GoroutineSample {
            entry: named("who queues"),
            ..parked(21, WaitReason::Lock, None, None)
        };
        let holds = GoroutineSample {
            entry: named("who holds"),
            ..parked(20, WaitReason::Connect, None, None)
        };
        let goroutines = vec![queues, holds];
        story.after(100 * MS).happens(EventKind::GoroutinesSampled {
            goroutines,
            handlers: None,
        });
    }
    hands_over(story.after(2 * S));
    let queued = &story.hangs()[0].stalls[0];
    assert_eq!(queued.op, Op::Lock);
    assert_eq!(queued.blocked_by.as_deref(), Some("who holds"));
}

/// A sample finds this sink of the request of goroutine 20, which is in the broker; nothing else shows that.
fn a_sink_queues(story: &mut Story, sink: u64, device: Option<Device>) {
    let queues = GoroutineSample {
        ancestors: vec![sink - 1, 20, 1],
        request: Some(20),
        ..parked(sink, WaitReason::Lock, None, device)
    };
    let handler = HandlerSample {
        goid: 20,
        ancestors: vec![1],
        phase: None,
        entry: None,
    };
    story.after(100 * MS).happens(EventKind::GoroutinesSampled {
        goroutines: vec![queues],
        handlers: Some(vec![handler]),
    });
}

/// Found on a stripped server: the sink of a request's second entry was thought to have queued since the request began.
#[test]
fn a_sink_queues_since_it_was_not_found_before() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(30).connects(2, 30);
    let device = || Some(Device::configured(Transport::Tcp, LOG));
    // Nothing is seen of the client of goroutine 20, and no stack says for which entry a sink queues.
    let began = story.now;
    for (sink, samples) in [(22, 20), (24, 30)] {
        for _ in 0..samples {
            a_sink_queues(&mut story, sink, device());
        }
    }
    story.gives_up_connecting(2, 30).answered(30);
    story.summary();
    story.nothing_is_found();
    let hangs = story.hangs();
    let queued = hangs.iter().find(|hang| hang.stalls[0].op == Op::Lock);
    let stalls = &queued.expect("it queued").stalls;
    let times = stalls.iter().map(|stall| {
        let after = (stall.start - began) / MS;
        (after, stall.duration / MS, stall.uncertainty / MS)
    });
    let times: Vec<_> = times.collect();
    assert!(
        matches!(times[..], [(100, _, 100..=150), (2050, 2950, 50)]),
        "{times:?}"
    );
}

/// Attached to a stripped server whose device was dead already: the first dial that is seen is not the first that stalls. The
/// twin is `nobody_queues_for_a_device_that_is_not_stalled`.
#[test]
fn a_device_that_was_never_seen_to_work_may_have_been_stalled_before() {
    let mut story = Story::new();
    let began = story.requested(21).now;
    story.after(600 * MS).requested(20).connects(2, 20);
    for _ in 0..3 {
        let device = Some(Device::configured(Transport::Tcp, LOG));
        let queues = parked(21, WaitReason::Lock, None, device);
        story.after(S / 2).happens(EventKind::GoroutinesSampled {
            goroutines: vec![queues],
            handlers: None,
        });
    }
    story.after(S / 2).gives_up_connecting(2, 20).answered(20);
    story.answered(21).nothing_is_found();
    let hangs = story.hangs();
    let queued = hangs.iter().find(|hang| hang.stalls[0].op == Op::Lock);
    let stall = &queued.expect("it queued").stalls[0];
    assert!(stall.start - stall.uncertainty <= began, "{stall:?}");
    assert!(stall.start > began, "{stall:?}");
}

/// The twin of a sink that was not found before: this one was, when it was not known yet for which device it queues.
#[test]
fn a_sink_that_was_found_before_its_device_is_known_has_queued_since() {
    let mut story = Story::new();
    let began = story.now;
    for sample in 0..30 {
        if sample == 10 {
            story.requested(30).connects(2, 30);
        }
        let device = (sample >= 10).then(|| Device::configured(Transport::Tcp, LOG));
        a_sink_queues(&mut story, 22, device);
    }
    story.gives_up_connecting(2, 30).answered(30);
    story.summary();
    story.nothing_is_found();
    let hangs = story.hangs();
    let queued = hangs.iter().find(|hang| hang.stalls[0].op == Op::Lock);
    let stall = &queued.expect("it queued").stalls[0];
    let earliest = stall.start - stall.uncertainty;
    assert!(earliest <= began + 100 * MS, "{stall:?}");
}

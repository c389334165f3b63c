//! For which entry a sink's goroutine works that nothing but its request's goroutine shows.

use tracer_model::{
    Device, EventKind, GoroutineSample, HandlerSample, Hang, Op, Phase, Transport, WaitReason,
};

use super::story::*;

/// A sample of a stripped server: the handler 20 is in the broker for this entry, and these sinks of it queue. Nothing but the
/// function's name shows for which entry that is.
fn sinks_queue(story: &mut Story, phase: Phase, sinks: &[u64]) {
    let device = || Some(Device::configured(Transport::Tcp, LOG));
    let sink = |goid: &u64| GoroutineSample {
        ancestors: vec![goid - 1, 20],
        request: Some(20),
        ..parked(*goid, WaitReason::Lock, None, device())
    };
    story.happens(EventKind::GoroutinesSampled {
        goroutines: sinks.iter().map(sink).collect(),
        handlers: Some(vec![HandlerSample {
            goid: 20,
            ancestors: vec![1],
            phase: Some(phase),
            entry: None,
        }]),
    });
}

/// Found in live runs of a stripped Vault 2.1: for which entry a sink queues is known by its request's goroutine, so each wait is
/// one stall. The second began between two samples.
#[test]
fn a_sink_queues_for_the_entry_that_its_request_waits_for() {
    for goes_on in [false, true] {
        let mut story = Story::new();
        known_device(&mut story);
        story.requested(21).connects(2, 21).requested(20);
        for _ in 0..6 {
            sinks_queue(story.after(S / 10), Phase::Request, &[31]);
        }
        // The twin: the handler has given up on the first sink, which queues on; that is no wait of its request.
        let sinks = [41, 31];
        let sinks = if goes_on { &sinks[..] } else { &sinks[..1] };
        for _ in 0..6 {
            sinks_queue(story.after(S / 10), Phase::Response, sinks);
        }
        story.after(S / 20).answered(20);
        story.after(S).gives_up_connecting(2, 21).answered(21);
        story.nothing_is_found();
        let queued = |hang: &&&Hang| hang.stalls[0].op == Op::Lock;
        let hangs = story.hangs();
        let hang = hangs.iter().find(queued).expect("it queued");
        let stalls: Vec<_> = hang
            .stalls
            .iter()
            .map(|s| (s.phase, s.uncertainty / MS))
            .collect();
        assert_eq!(
            stalls,
            [(Phase::Request, 50), (Phase::Response, 50)],
            "{hang:#?}"
        );
        assert_eq!(hang.duration, 1250 * MS, "{goes_on}");
    }
}

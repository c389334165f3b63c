//! Look-ups of a device's name.

use super::*;
use tracer_model::{Transport, WaitReason};

/// Field case D11: a look-up, and then a dial by another goroutine of the same request.
#[test]
fn what_a_look_up_took_counts_for_the_dial_that_follows() {
    for dials in [20, 21] {
        let mut story = Story::new();
        known_device(&mut story);
        let log = Device::configured(Transport::Tcp, LOG);
        story.requested(20);
        for _ in 0..42 {
            story.after(100 * MS).happens(EventKind::GoroutinesSampled {
                goroutines: vec![parked(20, WaitReason::Resolve, None, Some(log.clone()))],
                handlers: None,
            });
            story.happens(EventKind::Tick);
        }
        story.findings.clear();
        story.after(MS).happens(EventKind::State {
            socket: log_socket(3),
            by: Some(Actor {
                tid: 7,
                goid: Some(dials),
                parent: Some(if dials == 20 { 1 } else { 20 }),
            }),
            old: TcpState::Close,
            new: TcpState::SynSent,
            errno: 0,
            tcp: None,
        });
        story.after(150 * MS).happens(EventKind::Tick);
        let stalled = story.stalled();
        let [stalled] = stalled[..] else {
            panic!("{dials}: {:?}", story.findings);
        };
        assert_eq!(
            (stalled.op, stalled.cause),
            (Op::Connect, Cause::SynUnanswered)
        );
        assert_eq!(stalled.at - stalled.start, 150 * MS);
        assert!(
            (4200 * MS..=4352 * MS).contains(&stalled.blocked),
            "{dials}: {stalled:?}"
        );
        story.after(2 * S).gives_up_connecting(3, dials);
        story.answered(20).nothing_is_found();
        let [hang] = story.hangs()[..] else {
            panic!("{:?}", story.findings);
        };
        assert!(hang.duration <= hang.request.duration, "{hang:?}");
        assert_eq!(hang.cause(), Cause::Resolver);
    }
}

/// What samples alone show is known only when the request is over: by then the device may have taken its entry.
#[test]
fn a_slow_look_up_is_an_outage_until_the_entry_is_taken() {
    for is_taken in [true, false] {
        let mut story = Story::new();
        known_device(&mut story);
        let log = Device::configured(Transport::Tcp, LOG);
        story.after(60 * S).requested(20);
        for _ in 0..5 {
            story.after(400 * MS).happens(EventKind::GoroutinesSampled {
                goroutines: vec![parked(20, WaitReason::Resolve, None, Some(log.clone()))],
                handlers: None,
            });
        }
        story.after(100 * MS).connects(3, 20).after(MS);
        story.state(log_socket(3), 20, TcpState::SynSent, TcpState::Established);
        story.after(MS);
        let end = is_taken.then_some(story.now);
        let bytes = if is_taken { 900 } else { -32 };
        let request = Some(entry(EntryKind::Request));
        story.sends(log_socket(3), 20, (bytes, 900), request);
        if is_taken {
            story.after(S).logs(3, 20, EntryKind::Response);
        }
        story.after(MS).answered(20).nothing_is_found();
        assert_eq!(story.hangs().len(), 1, "{is_taken}");
        let found: Vec<_> = story.incidents_after(6).iter().map(|i| i.end).collect();
        assert_eq!(found, [end], "{is_taken}");
    }
}

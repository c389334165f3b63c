//! Requests that share a connection, whose answers nothing tells apart.

use tracer_model::{
    Actor, Device, EventKind, GoroutineSample, HandlerSample, Hang, Nanos, Phase, TcpState,
    Transport, WaitReason,
};

use super::story::*;

/// The connection's goroutine, who writes its frames, and the two requests' own goroutines, each of which has a sink.
const SERVER: u64 = 20;
const WRITER: u64 = 31;
const HANDLERS: [u64; 2] = [40, 41];
const SINK: u64 = 10;

fn two_streams(story: &mut Story) {
    for reader in [None, Some(30), Some(30)] {
        let by = reader.map_or(goroutine(SERVER), child);
        story.after(MS).happens(EventKind::Receive {
            socket: client_socket(SERVER),
            by,
            bytes: 100,
            handshake: false,
        });
    }
}

fn child(goid: u64) -> Actor {
    Actor {
        parent: Some(SERVER),
        ..goroutine(goid)
    }
}

fn frame(story: &mut Story) {
    story.happens(EventKind::Send {
        socket: client_socket(SERVER),
        by: child(WRITER),
        result: 500,
        requested: None,
        entry: None,
        tcp: None,
        status: None,
    });
}

/// A sample that finds these of the requests in the broker, with sinks that queue for the device.
fn sampled(story: &mut Story, in_broker: &[u64]) {
    let sink = |handler: &u64| GoroutineSample {
        ancestors: vec![*handler, SERVER, 1],
        request: Some(*handler),
        ..parked(
            handler + SINK,
            WaitReason::Lock,
            Some(Phase::Response),
            Some(Device::configured(Transport::Tcp, LOG)),
        )
    };
    let handler = |goid: &u64| HandlerSample {
        goid: *goid,
        ancestors: vec![SERVER, 1],
        phase: Some(Phase::Response),
        entry: None,
    };
    story.happens(EventKind::GoroutinesSampled {
        goroutines: in_broker.iter().map(sink).collect(),
        handlers: Some(in_broker.iter().map(handler).collect()),
    });
}

/// What is seen after the last sample that found the requests in the broker.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    TraceEnds,
    ASampleFindsNone,
    ConnectionIsGone,
}

/// Found in a lab with fifty streams on Vault 2.1: the trace ended before two samples had missed those who were answered, and
/// their hangs lasted to the sample, or to the end of the trace.
#[test]
fn who_may_have_been_answered_is_blocked_to_the_first_frame_only() {
    for then in [
        Then::TraceEnds,
        Then::ASampleFindsNone,
        Then::ConnectionIsGone,
    ] {
        for is_answered in [true, false] {
            let mut story = Story::new();
            known_device(&mut story);
            story.requested(21).connects(2, 21);
            two_streams(&mut story);
            let began = story.now;
            for _ in 0..5 {
                sampled(story.after(100 * MS), &HANDLERS);
            }
            story.after(30 * MS);
            let mut answered = Vec::new();
            for _ in HANDLERS.iter().filter(|_| is_answered) {
                answered.push(story.after(10 * MS).now - began);
                frame(&mut story);
            }
            story.after(10 * MS);
            match then {
                Then::TraceEnds => {}
                Then::ASampleFindsNone => sampled(story.after(20 * MS), &[]),
                Then::ConnectionIsGone => {
                    let socket = client_socket(SERVER);
                    story.state(socket, SERVER, TcpState::LastAck, TcpState::Close);
                }
            }
            story.after(70 * MS).happens(EventKind::End);
            let of_streams = |hang: &&&Hang| hang.request.http_version == Some("2");
            let hangs = story.hangs();
            let hangs: Vec<_> = hangs.iter().filter(of_streams).collect();
            assert_eq!(hangs.len(), 2, "{then:?}: {:?}", story.findings);
            for hang in hangs {
                let open: Nanos = hang.stalls.iter().map(|stall| stall.uncertainty).sum();
                let lasted = hang.start + hang.duration - began;
                let case = format!("{then:?} {answered:?}: {lasted} {hang:#?}");
                assert!(lasted >= 500 * MS, "{case}");
                match answered[..] {
                    [first, last] => {
                        assert!(lasted <= first && lasted + open >= last, "{case}");
                        assert_eq!(hang.request.client_gone, None, "{case}");
                    }
                    _ if then == Then::TraceEnds => assert_eq!(lasted, 610 * MS, "{case}"),
                    _ => {}
                }
            }
        }
    }
}

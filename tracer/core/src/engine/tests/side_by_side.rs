//! Sinks that write side by side: what they and their requests' goroutines do when samples alone show it.

use tracer_model::{
    Actor, BufferedTotals, Cause, ConfiguredDevice, Device, EntryKind, EventKind, GoroutineSample,
    HandlerSample, Hang, Nanos, Phase, TcpState, Transport, WaitReason,
};

use super::{restart::restarted_after, story::*};

fn device() -> Device {
    Device::configured(Transport::Tcp, LOG)
}

/// A sink of the request of this goroutine.
fn sink(goid: u64, handler: u64, place: WaitReason, phase: Phase) -> GoroutineSample {
    GoroutineSample {
        ancestors: vec![goid - 1, handler, 1],
        request: Some(handler),
        ..parked(goid, place, Some(phase), Some(device()))
    }
}

fn handler(goid: u64, phase: Phase) -> HandlerSample {
    HandlerSample {
        goid,
        ancestors: vec![1],
        phase: Some(phase),
        entry: None,
    }
}

fn sampled(story: &mut Story, goroutines: Vec<GoroutineSample>, handlers: Vec<HandlerSample>) {
    story.happens(EventKind::GoroutinesSampled {
        goroutines,
        handlers: Some(handlers),
    });
}

fn of_client(story: &Story, goid: u64) -> Vec<&Hang> {
    let hangs = story.hangs().into_iter();
    let port = Some(50_000 + goid as u16);
    hangs
        .filter(|hang| hang.request.client.map(|c| c.port()) == port)
        .collect()
}

fn stalls_of(story: &Story, goid: u64) -> Vec<(Nanos, Nanos)> {
    let hangs = of_client(story, goid);
    let stalls = hangs.iter().flat_map(|hang| &hang.stalls);
    stalls
        .map(|s| (s.duration / MS, s.uncertainty / MS))
        .collect()
}

/// The token of a request is looked up in a slow storage before its first entry is due: that is no wait for the device.
#[test]
fn a_request_does_not_queue_before_it_is_in_the_broker() {
    for (storage, expected) in [(0, (1050, 0)), (5, (1000, 50)), (20, (1000, 50))] {
        let mut story = Story::new();
        known_device(&mut story);
        story.requested(21).connects(2, 31).after(50 * MS);
        let holds = || sink(31, 21, WaitReason::Connect, Phase::Request);
        story.requested(20);
        for _ in 0..storage {
            story.after(100 * MS);
            sampled(&mut story, vec![holds()], vec![handler(21, Phase::Request)]);
        }
        for _ in 0..10 {
            story.after(100 * MS);
            let queues = sink(41, 20, WaitReason::Lock, Phase::Request);
            let handlers = vec![handler(20, Phase::Request), handler(21, Phase::Request)];
            sampled(&mut story, vec![holds(), queues], handlers);
        }
        story.after(50 * MS).answered(20);
        story.gives_up_connecting(2, 31).answered(21);
        story.nothing_is_found();
        assert_eq!(stalls_of(&story, 20), [expected], "{storage}");
    }
}

/// The limit of an entry has ended all waits, and the processors are busy with the answers: a sample finds the sink gone, and
/// its request's goroutine has left the broker.
#[test]
fn a_sink_that_one_sample_does_not_find_is_gone_since_the_sample_before() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(21).connects(2, 31).requested(20);
    let holds = || sink(31, 21, WaitReason::Connect, Phase::Request);
    for _ in 0..10 {
        story.after(100 * MS);
        let queues = sink(41, 20, WaitReason::Lock, Phase::Request);
        let handlers = vec![handler(20, Phase::Request), handler(21, Phase::Request)];
        sampled(&mut story, vec![holds(), queues], handlers);
    }
    story.after(100 * MS);
    sampled(&mut story, vec![holds()], vec![handler(21, Phase::Request)]);
    story.after(60 * MS).answered(20);
    story.gives_up_connecting(2, 31).answered(21);
    story.nothing_is_found();
    assert_eq!(stalls_of(&story, 20), [(1050, 50)]);
}

/// A write goes on when the broker has given up the first entry, and the sink of the second one queues behind that, as do sinks
/// of both entries of others.
#[test]
fn who_waits_is_counted_by_requests_and_without_the_one_that_is_in_the_device() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).requested(21).requested(22);
    let entry = named("id-20", EntryKind::Request);
    story.sends(log_socket(1), 41, (EAGAIN, 900), Some(entry));
    for _ in 0..3 {
        story.after(30 * MS);
        let goroutines = vec![
            sink(41, 20, WaitReason::Write, Phase::Request),
            sink(43, 20, WaitReason::Lock, Phase::Response),
            sink(51, 21, WaitReason::Lock, Phase::Request),
            sink(53, 21, WaitReason::Lock, Phase::Response),
            sink(61, 22, WaitReason::Lock, Phase::Request),
        ];
        let handlers = vec![
            handler(20, Phase::Response),
            handler(21, Phase::Response),
            handler(22, Phase::Request),
        ];
        sampled(&mut story, goroutines, handlers);
    }
    story.after(100 * MS).happens(EventKind::Tick);
    let waiting: Vec<_> = story.stalled().iter().map(|s| s.waiting).collect();
    assert_eq!(waiting, [2]);
    let states = story.core.snapshot(story.now).devices;
    let waiting: Vec<_> = states.iter().map(|state| state.waiting).collect();
    assert_eq!(waiting, [2]);
}

/// The sink of the second entry queued behind the write of the first, and dials then.
#[test]
fn a_request_has_been_blocked_for_no_longer_than_it_has_lasted() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20);
    let entry = named("id-20", EntryKind::Request);
    story.sends(log_socket(1), 41, (EAGAIN, 900), Some(entry));
    for tenths in 0..150 {
        let write = sink(41, 20, WaitReason::Write, Phase::Request);
        let queues = sink(43, 20, WaitReason::Lock, Phase::Response);
        story.after(100 * MS);
        if tenths < 100 {
            sampled(&mut story, vec![write], vec![handler(20, Phase::Request)]);
        } else {
            let goroutines = vec![write, queues];
            sampled(&mut story, goroutines, vec![handler(20, Phase::Response)]);
        }
    }
    story.gives_up_writing(1, 41).connects(2, 43);
    story.after(S).happens(EventKind::Tick);
    let blocked: Vec<_> = story.stalled().iter().map(|s| s.blocked / MS).collect();
    assert_eq!(blocked, [16_000]);
    let open = story.core.snapshot(story.now).stalls;
    assert_eq!(
        open.iter().map(|s| s.blocked / MS).collect::<Vec<_>>(),
        [16_000]
    );
}

/// On SIGHUP the server's main goroutine connects its socket devices anew: nobody's request.
#[test]
fn a_device_that_is_opened_again_blocks_nobody_by_that() {
    let mut story = Story::new();
    known_device(&mut story);
    let main = || GoroutineSample {
        frames: vec!["event.(*SocketSink).Reopen".to_owned()],
        ..parked(1, WaitReason::Connect, None, Some(device()))
    };
    let by = Actor {
        parent: None,
        ..goroutine(1)
    };
    let dial = |story: &mut Story, old, new| {
        story.happens(EventKind::State {
            socket: log_socket(2),
            by: Some(by),
            old,
            new,
            errno: 0,
            tcp: None,
        });
    };
    dial(&mut story, TcpState::Close, TcpState::SynSent);
    for _ in 0..20 {
        story.after(100 * MS);
        sampled(&mut story, vec![main()], Vec::new());
        story.happens(EventKind::Tick);
    }
    dial(&mut story, TcpState::SynSent, TcpState::Close);
    for _ in 0..10 {
        story.after(S).happens(EventKind::Tick);
    }
    story.nothing_is_found();
    assert_eq!(
        (story.hangs().len(), story.stalled().len()),
        (0, 0),
        "{:#?}",
        story.findings
    );
    let incidents = story.incidents_after(2);
    assert_eq!(incidents.len(), 1);
}

/// Such as the connection to another node of the cluster that is down.
#[test]
fn a_goroutine_that_never_rests_is_not_remembered_for_ever() {
    let mut story = Story::new();
    known_device(&mut story);
    let peer = |number| socket(number, false, "10.77.0.9:8201");
    for number in 0..5_000 {
        story.state(peer(100 + number), 99, TcpState::Close, TcpState::SynSent);
        story.after(S);
        story.state(peer(100 + number), 99, TcpState::SynSent, TcpState::Close);
        story.after(MS).happens(EventKind::Tick);
    }
    let kept = story.core.kept();
    assert!(kept < 1_000, "{kept}");
}

/// On 1.16 a sink queues on when its request was answered.
fn answered_while_its_sink_queues(story: &mut Story) {
    known_device(story);
    story.requested(21).connects(2, 31).requested(20);
    for _ in 0..10 {
        story.after(100 * MS);
        let goroutines = vec![
            sink(31, 21, WaitReason::Connect, Phase::Request),
            sink(41, 20, WaitReason::Lock, Phase::Response),
        ];
        let handlers = vec![handler(20, Phase::Response), handler(21, Phase::Request)];
        sampled(story, goroutines, handlers);
    }
    story.after(MS).answered(20).nothing_is_found();
}

/// Samples find nobody any more, and the device works.
fn works_again(story: &mut Story) {
    story.state(log_socket(2), 31, TcpState::SynSent, TcpState::Established);
    story.sends(
        log_socket(2),
        31,
        (900, 900),
        Some(named("id-21", EntryKind::Request)),
    );
    story.after(MS).answered(21).nothing_is_found();
}

#[test]
fn an_entry_whose_write_may_be_lost_is_not_counted_as_missed() {
    for (is_lost, expected) in [(false, 1), (true, 0)] {
        let mut story = Story::new();
        answered_while_its_sink_queues(&mut story);
        works_again(&mut story);
        if is_lost {
            story.happens(EventKind::RecordsLost {
                kind: "send".to_owned(),
                records: 3,
                until: None,
            });
        }
        story.after(50 * MS);
        sampled(&mut story, Vec::new(), Vec::new());
        let incidents = story.incidents_after(6);
        let [incident] = &incidents[..] else {
            panic!("{incidents:?}");
        };
        let untaken = &incident.untaken;
        assert_eq!(untaken.missed.unwrap_or(0), expected, "{incident:#?}");
        assert_eq!(untaken.at_least, is_lost);
    }
}

#[test]
fn entries_that_queued_in_the_server_before_are_not_the_next_ones() {
    let mut story = Story::new();
    answered_while_its_sink_queues(&mut story);
    restarted_after(&mut story, S / 2);
    story.findings.clear();
    story.requested(20).connects(3, 20).after(2 * S);
    story.gives_up_connecting(3, 20).answered(20);
    story.nothing_is_found();
    let incidents = story.incidents_after(6);
    let [incident] = &incidents[..] else {
        panic!("{incidents:?}");
    };
    assert_eq!(incident.untaken.missed.unwrap_or(0), 0, "{incident:#?}");
    assert_eq!(incident.untaken.failed, Some(1), "{incident:#?}");
}

/// Over TLS no status says whether a request failed. Where the device is the only one, nothing else can have taken its entries.
#[test]
fn entries_of_requests_that_failed_are_not_missed_ones() {
    for (others, expected) in [(0, 0), (1, 1)] {
        let mut story = Story::new();
        let device = |number: usize| ConfiguredDevice {
            path: format!("socket-{number}/"),
            device: Device::configured(Transport::Tcp, [LOG, "10.77.0.3:1515"][number]),
            takes_all: true,
        };
        let devices = (0..=others).map(device).collect();
        story.happens(EventKind::DevicesRead { devices });
        answered_while_its_sink_queues(&mut story);
        works_again(&mut story);
        story.after(50 * MS);
        sampled(&mut story, Vec::new(), Vec::new());
        let incidents = story.incidents_after(6);
        let [incident] = &incidents[..] else {
            panic!("{incidents:?}");
        };
        assert_eq!(incident.untaken.missed, Some(expected), "{incident:#?}");
    }
}

/// An operator has given the device less time, and started the server again.
#[test]
fn a_time_out_is_that_of_the_server_that_runs() {
    for (restarts, expected) in [(true, Cause::Timeout), (false, Cause::SynUnanswered)] {
        let mut story = Story::new();
        known_device(&mut story);
        story.requested(20).dials_twice(2, 20).answered(20);
        if restarts {
            restarted_after(&mut story, S / 2);
        }
        story.requested(21);
        for number in [4, 5] {
            story.connects(number, 21).after(100 * MS);
            story.gives_up_connecting(number, 21);
        }
        story.answered(21).nothing_is_found();
        let causes: Vec<_> = of_client(&story, 21)
            .iter()
            .map(|hang| hang.cause())
            .collect();
        assert_eq!(causes, [expected], "{restarts}");
    }
}

/// A dial began when the programs had just been told to buffer: they stream again at once, and say anew which requests are under way.
#[test]
fn a_wait_that_began_as_buffering_did_goes_on() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).after(MS).connects(2, 20).after(MS);
    let at = story.now;
    story.happens(EventKind::BufferingEnded(BufferedTotals::default()));
    story.now = at - 2 * MS;
    story.requested(20);
    story.now = at;
    story.after(2 * S - MS).gives_up_connecting(2, 20).after(MS);
    story.answered(20).nothing_is_found();
    let hangs = of_client(&story, 20);
    assert_eq!(hangs.len(), 1, "{:#?}", story.findings);
    assert_eq!(hangs[0].duration, 2 * S);
    // Whoever is met on the way is behind no stall.
    let queues = parked(21, WaitReason::Other, None, Some(device()));
    story.after(S).requested(21);
    for _ in 0..5 {
        story.after(100 * MS);
        story.happens(EventKind::GoroutinesSampled {
            goroutines: vec![GoroutineSample {
                frames: vec!["socket.(*Backend).x".to_owned()],
                ..queues.clone()
            }],
            handlers: None,
        });
    }
    story.logs(3, 21, EntryKind::Response).answered(21);
    story.nothing_is_found();
    assert_eq!(of_client(&story, 21).len(), 0, "{:#?}", story.hangs());
}

//! When a request is over, and what is not its own.

use tracer_model::{
    Actor, Device, EntryHead, EntryKind, EventKind, Finding, GoroutineSample, HandlerSample, Nanos,
    Op, Phase, Socket, TcpState, Transport, WaitReason,
};

use super::story::*;

/// A sink below the handler, with the goroutine between them that only waits.
fn sink(goid: u64, handler: u64, place: WaitReason) -> GoroutineSample {
    GoroutineSample {
        ancestors: vec![goid - 1, handler, 1],
        request: Some(handler),
        ..parked(
            goid,
            place,
            None,
            Some(Device::configured(Transport::Tcp, LOG)),
        )
    }
}

fn in_broker(goid: u64) -> HandlerSample {
    HandlerSample {
        goid,
        ancestors: vec![1],
        phase: Some(Phase::Request),
        entry: None,
    }
}

fn sampled(story: &mut Story, goroutines: Vec<GoroutineSample>, handlers: &[u64]) {
    story.happens(EventKind::GoroutinesSampled {
        goroutines,
        handlers: Some(handlers.iter().copied().map(in_broker).collect()),
    });
}

/// Vault 1.16: the broker's context ends, the request is answered, the sink writes on.
#[test]
fn no_hang_outlasts_the_answer() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20);
    let write = story.now;
    story.sends(log_socket(1), 22, (EAGAIN, 900), None);
    for _ in 0..4 {
        story.after(S);
        sampled(&mut story, vec![sink(22, 20, WaitReason::Write)], &[20]);
    }
    let answer = story.after(S).answered(20).now;
    story.nothing_is_found();
    let [hang] = story.hangs()[..] else {
        panic!(
            "reported when the request is answered: {:?}",
            story.findings
        );
    };
    assert_eq!(
        (hang.start, hang.end, hang.duration),
        (write, answer, 5 * S)
    );
    assert_eq!(
        (hang.stalls[0].op, hang.stalls[0].outcome),
        (Op::Write, None)
    );
    // What the sink does from then on is the device's outage, and no further hang.
    story.requested(20).after(3 * S).gives_up_writing(1, 22);
    story.answered(20).after(S).logs(4, 23, EntryKind::Request);
    story
        .after(4 * S)
        .happens(EventKind::Tick)
        .happens(EventKind::End);
    assert_eq!(story.hangs().len(), 1, "{:?}", story.hangs());
    let [incident] = story.incidents()[..] else {
        panic!("{:?}", story.findings);
    };
    assert_eq!((incident.start, incident.hangs), (write, 1));
}

/// The broker gives up after one second, a slow plugin works for three, and the sink queues all the while.
#[test]
fn what_a_sink_does_while_its_handler_works_is_nobodys_wait() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20);
    story.sends(log_socket(1), 22, (EAGAIN, 900), None);
    for second in 0..5_u64 {
        for _ in 0..10 {
            story.after(100 * MS);
            let handlers: &[u64] = if second == 0 { &[20] } else { &[] };
            sampled(&mut story, vec![sink(22, 20, WaitReason::Write)], handlers);
        }
    }
    story.answered(20).nothing_is_found();
    let [hang] = story.hangs()[..] else {
        panic!("{:?}", story.findings);
    };
    let stall = &hang.stalls[0];
    assert!(
        hang.duration.abs_diff(S) <= stall.uncertainty.max(MS),
        "{hang:?}"
    );
    assert!(stall.uncertainty <= 150 * MS, "{hang:?}");
}

/// Field case A2: the goroutine that writes for all requests of an HTTP connection was started by the first one.
#[test]
fn who_writes_for_all_requests_works_for_none_of_them() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20);
    let writes = |result, id: &str| EventKind::Send {
        socket: log_socket(1),
        by: Actor {
            parent: Some(20),
            ..goroutine(40)
        },
        result,
        requested: Some(900),
        entry: Some(EntryHead {
            remote_port: Some(50_021),
            ..named(id, EntryKind::Request)
        }),
        tcp: None,
        status: None,
    };
    story.requested(21).happens(writes(EAGAIN, "id-21"));
    story.after(2 * S).happens(writes(900, "id-21"));
    story.answered(20).answered(21).nothing_is_found();
    let names: Vec<_> = story.hangs().iter().map(|h| h.request.id.clone()).collect();
    assert_eq!(names, [Some("id-21".to_owned())]);
    assert_eq!(
        story.hangs()[0].request.client.map(|c| c.port()),
        Some(50_021)
    );
}

/// An entry that was written before a request began is not that request's, though it bears its client's port.
#[test]
fn a_late_sink_of_the_request_before_does_not_name_the_next_one() {
    let mut story = Story::new();
    known_device(&mut story);
    let dials = |story: &mut Story, goid| {
        story.requested(20).connects(3, goid);
        story.after(S).gives_up_connecting(3, goid);
    };
    dials(&mut story, 20);
    let late = EntryHead {
        time: Some("1970-01-01T00:00:01Z".parse().expect("a time")),
        remote_port: Some(50_020),
        ..named("id-before", EntryKind::Response)
    };
    story.sends(log_socket(1), 33, (900, 900), Some(late));
    story.answered(20).nothing_is_found();
    assert_eq!(story.hangs()[0].request.id, None);
}

/// Field case A4: of the clients of a Unix listener nothing is seen but what the samples find.
#[test]
fn a_request_whose_client_is_not_seen_begins_with_its_first_sign() {
    let mut story = Story::new();
    known_device(&mut story);
    story.after(60 * S).happens(EventKind::Tick);
    sampled(&mut story, Vec::new(), &[]);
    let asked = story.now;
    for _ in 0..20 {
        story.after(100 * MS);
        sampled(
            &mut story,
            vec![parked(
                20,
                WaitReason::Connect,
                None,
                Some(Device::configured(Transport::Tcp, LOG)),
            )],
            &[20],
        );
    }
    story
        .after(10 * S)
        .happens(EventKind::Tick)
        .happens(EventKind::End);
    let [hang] = story.hangs()[..] else {
        panic!("{:?}", story.findings);
    };
    assert!(hang.request.lower_bound);
    assert!(hang.request.start >= asked, "{hang:?}");
    assert!(
        hang.request.duration <= 2 * S && hang.duration <= 2 * S,
        "{hang:?}"
    );
}

/// Field case A13.
#[test]
fn what_the_servers_end_cuts_has_no_outcome() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).connects(2, 20).after(S);
    // A process that exits closes its sockets before it is seen to have ended.
    story.gives_up_connecting(2, 20).after(MS);
    let at = story.now;
    story.happens(EventKind::ServerEnded);
    let stalls = &story.hangs()[0].stalls;
    assert_eq!((stalls[0].outcome, stalls[0].duration), (None, S));
    let ended = story.findings.iter().find_map(|finding| match finding {
        Finding::Ended(ended) => Some((ended.at, ended.under_way)),
        _ => None,
    });
    assert_eq!(ended, Some((at, 1)));
    let hangs = story.hangs().len();
    story.after(S).happens(EventKind::End);
    assert_eq!(story.hangs().len(), hangs);
}

/// Field case C2: a pipe that nobody reads has no socket; each wait is known when its request is over.
#[test]
fn an_outage_of_a_device_without_a_socket_is_one_incident() {
    let mut story = Story::new();
    let pipe = || Some(Device::configured(Transport::File, "/var/log/audit.pipe"));
    let clients = 20..24_u64;
    for goid in clients.clone() {
        story.requested(goid);
    }
    for done in 0..4_u64 {
        for _ in 0..10 {
            story.after(100 * MS);
            let waits = clients.clone().skip(done as usize).enumerate();
            let waits = waits.map(|(place, goid)| {
                let reason = if place == 0 {
                    WaitReason::Write
                } else {
                    WaitReason::Lock
                };
                parked(goid, reason, None, pipe())
            });
            let waits = waits.collect();
            sampled(&mut story, waits, &[20, 21, 22, 23]);
        }
        story.answered(20 + done).nothing_is_found();
        story.happens(EventKind::Tick);
    }
    sampled(&mut story, Vec::new(), &[]);
    story
        .after(S)
        .happens(EventKind::Tick)
        .happens(EventKind::End);
    assert_eq!(story.hangs().len(), 4);
    let counts: Vec<_> = story.incidents().iter().map(|i| i.hangs).collect();
    assert_eq!(counts, [4]);
}

const DIALS: (TcpState, TcpState) = (TcpState::Close, TcpState::SynSent);

/// Two addresses of one name are dialled by children of the request's goroutine (`net/dial.go`, `dialParallel`).
#[test]
fn racing_dials_are_one_requests_one_wait() {
    let mut story = Story::new();
    known_device(&mut story);
    let racer = |goid| Actor {
        parent: Some(20),
        ..goroutine(goid)
    };
    let dial = |number: Nanos, goid, (old, new)| EventKind::State {
        socket: Socket {
            transport: Transport::Tcp,
            ..socket(
                number,
                false,
                if goid == 31 { "[fd00::2]:1515" } else { LOG },
            )
        },
        by: Some(racer(goid)),
        old,
        new,
        errno: 0,
        tcp: None,
    };
    story.requested(20);
    story.sends(
        log_socket(1),
        20,
        (EAGAIN, 900),
        Some(entry(EntryKind::Request)),
    );
    story.after(2 * S).gives_up_writing(1, 20);
    story.happens(dial(5, 31, DIALS)).after(300 * MS);
    story.happens(dial(6, 32, DIALS)).after(MS);
    story.happens(dial(6, 32, (TcpState::SynSent, TcpState::Established)));
    story.logs(6, 20, EntryKind::Request).answered(20);
    // The loser is cancelled when the winner has been used.
    story.happens(dial(5, 31, (TcpState::SynSent, TcpState::Close)));
    let hangs = story.hangs();
    let durations: Vec<_> = hangs.iter().map(|hang| hang.request.duration).collect();
    assert_eq!(durations, [2301 * MS]);
    assert_eq!(hangs[0].duration, 2 * S + MS);
    let answered = story.findings.len();
    story
        .after(600 * S)
        .happens(EventKind::Tick)
        .happens(EventKind::Tick);
    story.summary();
    assert!(
        story.findings[answered..]
            .iter()
            .all(|f| !matches!(f, Finding::Hang(_)))
    );
    // Nobody says that the other address is an audit device.
    let failing = story.incidents().into_iter();
    let failing: Vec<_> = failing.map(|i| i.device.address.as_str()).collect();
    assert_eq!(failing, [LOG]);
}

/// The client closes its end while the device is stalled; the server goes on, and answers into the void.
#[test]
fn a_client_that_hangs_up_has_left_when_it_did() {
    for (leaves, expected) in [(true, Some(S)), (false, None)] {
        let mut story = Story::new();
        known_device(&mut story);
        story.requested(20).connects(2, 20).after(S);
        if leaves {
            story.happens(EventKind::State {
                socket: client_socket(20),
                by: None,
                old: TcpState::Established,
                new: TcpState::CloseWait,
                errno: 0,
                tcp: None,
            });
        }
        story.after(S).gives_up_connecting(2, 20).answered(20);
        story.not_found();
        let hang = story.hangs()[0];
        let gone = hang.request.client_gone;
        assert_eq!(gone.map(|gone| gone - hang.request.start), expected);
        assert_eq!(hang.duration, 2 * S);
    }
}

/// Found on Vault 2.1: the sink of the second entry was reported as another hang than the request's.
#[test]
fn a_stall_whose_request_is_not_known_yet_waits_for_a_sample() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20);
    for (socket, goid) in [(2, 22), (3, 24)] {
        story.connects(socket, goid).after(150 * MS);
        story.happens(EventKind::Tick);
        let reported = story.stalled().len();
        story.happens(EventKind::GoroutinesSampled {
            goroutines: vec![sink(goid, 20, WaitReason::Connect)],
            handlers: Some(vec![in_broker(20)]),
        });
        story.happens(EventKind::Tick);
        assert_eq!(reported + 1, story.stalled().len(), "socket {socket}");
        story.after(S).gives_up_connecting(socket, goid);
    }
    story.answered(20).not_found();
    let hang = story.hangs()[0].id;
    let reported: Vec<_> = story.stalled().iter().map(|s| Some(s.hang)).collect();
    assert_eq!(reported, [hang, hang]);
}

//! Devices that fail at once, as the server's log says, each beside a negative twin.

use super::story::*;
use tracer_model::{
    Actor, Cause, Device, DeviceFailure, EntryKind, EventKind, FailureReason, Nanos, Phase, Socket,
    TcpState, Transport,
};

const FILE: &str = "/var/log/audit.log";

/// Bytes of a file system that has room.
const ROOM: u64 = 1 << 30;

fn failure(transport: Transport, address: &str, reason: FailureReason) -> DeviceFailure {
    DeviceFailure {
        path: Some("named/".to_owned()),
        device: Some(Device::configured(transport, address)),
        reason,
        dial: false,
        free: None,
        lookup: None,
    }
}

fn says(story: &mut Story, by: Actor, phase: Phase, failure: &DeviceFailure) {
    story.happens(EventKind::DevicesFailed {
        by,
        phase: Some(phase),
        failures: vec![failure.clone()],
    });
}

/// A request whose two entries fail.
fn fails(story: &mut Story, goid: u64, failure: &DeviceFailure) {
    story.requested(goid);
    for phase in [Phase::Request, Phase::Response] {
        says(story.after(MS), goroutine(goid), phase, failure);
    }
    story.after(MS).answered(goid).nothing_is_found();
}

fn size(story: &mut Story, size: Option<u64>) {
    let path = FILE.to_owned();
    story.after(MS).happens(EventKind::FileSize {
        path,
        size,
        open: None,
        free: None,
    });
}

#[test]
fn one_outage_is_one_incident_until_the_file_grows() {
    for (sizes, ends) in [
        (&[Some(64), Some(64), Some(80)][..], true),
        // Truncated to make room, and written.
        (&[Some(64), Some(0), Some(10)][..], true),
        (&[None, Some(10)][..], true),
        (&[Some(64), Some(64)][..], false),
        (&[None, None][..], false),
    ] {
        let mut story = Story::new();
        let full = DeviceFailure {
            free: Some(0),
            ..failure(Transport::File, FILE, FailureReason::Unknown)
        };
        for goid in 20..25 {
            fails(&mut story, goid, &full);
        }
        for found in sizes {
            size(&mut story, *found);
        }
        let before: Vec<_> = story.refusals().iter().map(|r| r.before).collect();
        assert_eq!(before, [0, 1, 2, 3, 4]);
        let refusal = story.refusals()[0];
        assert_eq!((refusal.cause, refusal.duration), (Cause::NoSpace, 0));
        let incidents = story.incidents_after(20);
        assert_eq!(incidents.len(), 1, "{sizes:?}");
        let incident = &incidents[0];
        assert_eq!(incident.end.is_some(), ends, "{sizes:?}");
        assert_eq!((incident.refusals, incident.hangs), (5, 0));
        assert_eq!(incident.untaken.failed, Some(10));
    }
}

#[test]
fn a_file_that_grew_before_an_entry_failed_does_not_work() {
    let mut story = Story::new();
    let full = failure(Transport::File, FILE, FailureReason::Errno(28));
    fails(&mut story, 20, &full);
    size(&mut story, Some(64));
    story.happens(EventKind::FileSize {
        path: FILE.to_owned(),
        size: Some(70),
        open: None,
        free: None,
    });
    // That one was looked for before the entry failed.
    story.requested(21).after(MS);
    says(&mut story, goroutine(21), Phase::Request, &full);
    let incidents = story.incidents_after(20);
    assert_eq!(incidents.len(), 1);
    assert_eq!(incidents[0].end, None);
}

#[test]
fn errno_and_transport_make_the_cause() {
    use FailureReason::{Errno, Resolver, Status, Timeout, Unknown};
    use Transport::{File, Http, Syslog, Tcp, Udp, Unix};
    for (transport, reason, free, cause) in [
        (File, Errno(28), None, Cause::NoSpace),
        (File, Errno(122), None, Cause::NoSpace),
        (File, Errno(2), None, Cause::NotFound),
        (File, Errno(5), Some(0), Cause::IoError),
        (File, Errno(13), None, Cause::IoError),
        (File, Errno(20), None, Cause::IoError),
        (File, Errno(30), None, Cause::IoError),
        (File, Unknown, Some(0), Cause::NoSpace),
        (File, Unknown, Some(4095), Cause::NoSpace),
        (File, Unknown, Some(ROOM), Cause::IoError),
        (File, Unknown, None, Cause::IoError),
        (Unix, Errno(2), None, Cause::NotFound),
        (Unix, Errno(111), None, Cause::Refused),
        (Unix, Errno(11), None, Cause::PeerFull),
        (Unix, Errno(32), None, Cause::Reset),
        (Unix, Errno(90), None, Cause::TooLarge),
        (Unix, Errno(13), None, Cause::Unknown),
        (Syslog, Errno(2), None, Cause::NotFound),
        (Syslog, Errno(111), None, Cause::Refused),
        (Udp, Errno(90), None, Cause::TooLarge),
        (Udp, Errno(101), None, Cause::Unreachable),
        (Tcp, Errno(113), None, Cause::Unreachable),
        (Tcp, Errno(104), None, Cause::Reset),
        (Tcp, Errno(111), None, Cause::Refused),
        (Tcp, Resolver, None, Cause::Resolver),
        (Udp, Resolver, None, Cause::Resolver),
        (Tcp, Timeout, None, Cause::Timeout),
        (Unix, Timeout, None, Cause::Timeout),
        (Http, Timeout, None, Cause::Timeout),
        (Http, Status(302), None, Cause::Rejected),
        (Http, Status(503), None, Cause::Rejected),
        (Http, Resolver, None, Cause::Resolver),
        (Http, Unknown, None, Cause::Unknown),
    ] {
        let mut story = Story::new();
        let what = DeviceFailure {
            free,
            ..failure(transport, "/or/host:1", reason)
        };
        fails(&mut story, 20, &what);
        let told = story.refusals();
        assert_eq!(told.len(), 1, "{what:?}");
        assert_eq!(told[0].cause, cause, "{what:?}");
        assert_eq!(
            (told[0].errno, told[0].http_status),
            (reason.errno(), reason.status())
        );
    }
}

/// Both see the same failure, and count it once.
#[test]
fn what_a_socket_showed_is_not_taken_twice() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).after(MS);
    for socket in [2, 3] {
        story.connects(socket, 20);
        story.happens(EventKind::State {
            socket: log_socket(socket),
            by: None,
            old: TcpState::SynSent,
            new: TcpState::Close,
            errno: 111,
            tcp: None,
        });
    }
    let refused = DeviceFailure {
        dial: true,
        ..failure(Transport::Tcp, LOG, FailureReason::Errno(111))
    };
    says(&mut story, goroutine(20), Phase::Request, &refused);
    story.after(MS).answered(20).nothing_is_found();
    assert_eq!(story.refusals()[0].cause, Cause::Refused);
    assert!(story.refusals()[0].evidence.frames.is_empty());
    let incidents = story.incidents_after(20);
    assert_eq!(incidents.len(), 1);
    assert_eq!(incidents[0].untaken.failed, Some(1));
}

#[test]
fn a_retry_that_went_well_is_no_refusal_and_no_incident() {
    let unix = |born: Nanos| Socket {
        transport: Transport::Unix,
        path: Some("/run/log.sock".to_owned()),
        remote: None,
        ..socket(born, false, LOG)
    };
    for goes_well in [true, false] {
        let mut story = Story::new();
        story.requested(20);
        story.sends(unix(1), 20, (900, 900), Some(entry(EntryKind::Request)));
        story.after(MS);
        story.sends(unix(1), 20, (-32, 900), Some(entry(EntryKind::Response)));
        if goes_well {
            story.sends(unix(2), 20, (900, 900), Some(entry(EntryKind::Response)));
        }
        story.after(MS).answered(20).nothing_is_found();
        assert_eq!(story.refusals().len(), usize::from(!goes_well));
        let incidents = story.incidents_after(20);
        assert_eq!(incidents.len(), usize::from(!goes_well), "{incidents:?}");
    }
}

/// The sink of an entry has no name of its own.
#[test]
fn what_a_sink_failed_at_is_its_requests() {
    let mut story = Story::new();
    let datagram = |born| Socket {
        transport: Transport::Udp,
        ..socket(born, false, "10.77.0.2:1517")
    };
    story.requested(20).after(MS);
    for born in [1, 2] {
        story.happens(EventKind::Send {
            socket: datagram(born),
            by: Actor {
                tid: 7,
                goid: Some(90),
                parent: Some(80),
            },
            result: -90,
            requested: Some(90_000),
            entry: None,
            tcp: None,
            status: None,
        });
    }
    let large = failure(Transport::Udp, "10.77.0.2:1517", FailureReason::Errno(90));
    says(&mut story, goroutine(20), Phase::Request, &large);
    story.after(MS).answered(20).nothing_is_found();
    let told = story.refusals();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].cause, Cause::TooLarge);
    assert_eq!(
        told[0].request.client.map(|client| client.port()),
        Some(50_020)
    );
}

/// An entry that is small enough between two that are not.
#[test]
fn entries_that_are_too_large_are_one_incident() {
    let mut story = Story::new();
    let unix = Socket {
        transport: Transport::Unix,
        path: Some("/dev/log".to_owned()),
        remote: None,
        ..socket(1, false, LOG)
    };
    for goid in 20..25 {
        story.requested(goid).after(MS);
        story.sends(
            unix.clone(),
            goid,
            (-90, 300_000),
            Some(named(&format!("id-{goid}"), EntryKind::Request)),
        );
        story.after(MS).answered(goid).nothing_is_found();
        story.requested(goid + 20).after(300 * MS);
        let small = named(&format!("id-{}", goid + 20), EntryKind::Request);
        story.sends(unix.clone(), goid + 20, (900, 900), Some(small));
        story.answered(goid + 20);
    }
    let incidents = story.incidents_after(20);
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    assert_eq!(incidents[0].cause, Cause::TooLarge);
    assert_eq!(incidents[0].refusals, 5);
}

/// A dial that ended before a slow path could have answered says nothing of the peer.
#[test]
fn a_time_out_shorter_than_a_round_trip_is_the_cause() {
    for (lasted, cause) in [(20 * MS, Cause::Timeout), (90 * MS, Cause::Timeout)] {
        let mut story = Story::new();
        known_device(&mut story);
        story.requested(20).connects(2, 20);
        story.after(lasted).gives_up_connecting(2, 20);
        story.answered(20).nothing_is_found();
        assert_eq!(story.refusals().len(), 1, "{:?}", story.findings);
        assert_eq!(story.refusals()[0].cause, cause, "{lasted}");
    }
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).dials_twice(2, 20).answered(20);
    story.nothing_is_found();
    assert_eq!(story.hangs()[0].cause(), Cause::SynUnanswered);
}

#[test]
fn answers_with_5xx_are_counted_where_all_can_be_read() {
    for (statuses, failed) in [
        (&[Some(200), Some(204), Some(404)][..], Some(0)),
        (&[Some(200), Some(500), Some(503)][..], Some(2)),
        // The second client uses TLS.
        (&[Some(500), None][..], None),
    ] {
        let mut story = Story::new();
        for (goid, status) in (20..).zip(statuses) {
            story.requested(goid).after(MS);
            story.logs(1, goid, EntryKind::Request);
            story.happens(EventKind::Send {
                socket: client_socket(goid),
                by: goroutine(goid),
                result: 500,
                requested: Some(500),
                entry: None,
                tcp: None,
                status: *status,
            });
        }
        assert_eq!(story.summary().failed_requests, failed, "{statuses:?}");
    }
}

/// Once the server has said path and address together, the path is enough.
#[test]
fn a_device_keeps_its_name_when_its_address_is_not_said() {
    let mut story = Story::new();
    let whole = failure(Transport::Tcp, LOG, FailureReason::Errno(32));
    fails(&mut story, 20, &whole);
    let by_name = failure(Transport::Tcp, "log.example", FailureReason::Resolver);
    fails(&mut story, 21, &by_name);
    let devices: Vec<_> = story
        .refusals()
        .iter()
        .map(|r| r.device.address.clone())
        .collect();
    assert_eq!(devices, [LOG, LOG]);
}

/// Field case A11: that another device took the entry is said only where one did.
#[test]
fn an_entry_is_taken_elsewhere_only_where_it_was() {
    let full = failure(Transport::File, FILE, FailureReason::Errno(28));
    for (is_taken, status, expected) in [
        (false, None, false),
        (false, Some(500), false),
        (true, None, true),
        (true, Some(500), true),
        // Without any entry the server answers no request with less.
        (false, Some(200), true),
    ] {
        let mut story = Story::new();
        known_device(&mut story);
        story.requested(20).after(MS);
        says(&mut story, goroutine(20), Phase::Request, &full);
        if is_taken {
            story.logs(1, 20, EntryKind::Request);
        }
        story.after(MS).happens(EventKind::Send {
            socket: client_socket(20),
            by: goroutine(20),
            result: 500,
            requested: Some(500),
            entry: None,
            tcp: None,
            status,
        });
        story.nothing_is_found();
        let found: Vec<_> = story.refusals().iter().map(|r| r.taken_elsewhere).collect();
        assert_eq!(found, [expected], "{is_taken} {status:?}");
    }
}

//! HTTP devices of which the server's log says no more than the type, as that of a stripped server does: they are one device with what
//! sockets show.

use tracer_model::{
    DeviceFailure, EntryHead, FailureReason, Incident, Phase, Transport, WaitReason,
};

use super::*;

const URL: &str = "http://10.77.0.2:1515";

fn fails(story: &mut Story, goid: u64, reason: FailureReason) {
    let failure = DeviceFailure {
        path: Some("to-http/".to_owned()),
        device: Some(Device::new(Transport::Http, "")),
        reason,
        dial: false,
        free: None,
        lookup: None,
    };
    story.after(MS).happens(EventKind::DevicesFailed {
        by: goroutine(goid),
        phase: None,
        failures: vec![failure],
    });
}

/// An entry in an HTTP request.
fn posts(story: &mut Story, goid: u64, kind: EntryKind) {
    let entry = EntryHead {
        over_http: true,
        ..named(&format!("id-{goid}"), kind)
    };
    story.sends(log_socket(1), goid, (900, 900), Some(entry));
}

fn rejects(story: &mut Story, status: u16) {
    story.after(MS).happens(EventKind::Rejected {
        socket: log_socket(1),
        status,
    });
}

/// A request whose entries the server takes.
fn goes_well(story: &mut Story, goid: u64) {
    story.requested(goid).after(MS);
    for kind in [EntryKind::Request, EntryKind::Response] {
        posts(story.after(MS), goid, kind);
    }
    story.answered(goid).nothing_is_found().after(S);
}

fn incidents(mut story: Story) -> Vec<(String, bool)> {
    story.nothing_is_found();
    let incidents = story.incidents_after(10).into_iter();
    incidents
        .map(|Incident { device, end, .. }| (device.to_string(), end.is_some()))
        .collect()
}

fn expected(found: &[(&str, bool)]) -> Vec<(String, bool)> {
    let owned = found
        .iter()
        .map(|(device, ends)| ((*device).to_owned(), *ends));
    owned.collect()
}

/// Found on a stripped OpenBao: the rejected entries were two devices' outages, one of which never ended.
#[test]
fn what_the_log_says_of_a_type_is_of_the_device_whose_socket_shows_it() {
    let by_url = format!("http {URL}");
    for (shown, said, found) in [
        (Some(503), 503, vec![(&*by_url, true)]),
        // The twins: another answer, or none. What is said is of another device, to which TLS goes.
        (Some(413), 503, vec![("http", true), (&*by_url, true)]),
        (None, 503, vec![("http", true)]),
    ] {
        let mut story = Story::with_log();
        known_device(&mut story);
        story.requested(20).after(MS);
        for kind in [EntryKind::Request, EntryKind::Response] {
            posts(&mut story, 20, kind);
            if let Some(status) = shown {
                rejects(&mut story, status);
            }
            fails(&mut story, 20, FailureReason::Status(said));
        }
        story.answered(20).nothing_is_found();
        if shown == Some(said) {
            assert_eq!(story.refusals().len(), 1, "{:?}", story.refusals());
        }
        for goid in 21..24 {
            goes_well(&mut story, goid);
        }
        let mut ended = incidents(story);
        ended.sort();
        assert_eq!(ended, expected(&found), "{shown:?} {said}");
    }
}

/// Nobody can see whether it speaks TLS.
#[test]
fn a_connection_that_is_refused_is_refused_once() {
    let refused = |story: &mut Story| {
        story.connects(2, 20).happens(EventKind::State {
            socket: log_socket(2),
            by: Some(goroutine(20)),
            old: TcpState::SynSent,
            new: TcpState::Close,
            errno: 111,
            tcp: None,
        });
    };
    for (said, devices) in [
        (111, &["tcp 10.77.0.2:1515"][..]),
        // The twin: another error is of another device.
        (104, &["http", "tcp 10.77.0.2:1515"][..]),
    ] {
        let mut story = Story::with_log();
        known_device(&mut story);
        story.requested(20).after(MS);
        refused(&mut story);
        fails(&mut story, 20, FailureReason::Errno(said));
        story.after(MS).answered(20).nothing_is_found();
        let refusals = story.refusals().into_iter();
        let mut refused: Vec<_> = refusals.map(|r| r.device.to_string()).collect();
        refused.sort();
        assert_eq!(refused, devices, "{said}");
    }
}

/// The stack of a goroutine in the device's code has its URL: entries that are written there are the device's.
#[test]
fn a_slow_answer_is_an_outage_of_the_device_whose_entries_are_written_there() {
    for (url, device) in [
        (URL, "http http://10.77.0.2:1515"),
        ("http://log:1515", "http http://log:1515"),
    ] {
        let mut story = Story::with_log();
        known_device(&mut story);
        story.requested(20).after(MS);
        posts(&mut story, 20, EntryKind::Request);
        for _ in 0..10 {
            let device = Device::configured(Transport::Http, url);
            story.after(S / 10).happens(EventKind::GoroutinesSampled {
                goroutines: vec![parked(
                    20,
                    WaitReason::Answer,
                    Some(Phase::Request),
                    Some(device),
                )],
                handlers: None,
            });
        }
        posts(&mut story, 20, EntryKind::Response);
        story.after(MS).answered(20).nothing_is_found().after(S);
        for goid in 21..24 {
            goes_well(&mut story, goid);
        }
        assert_eq!(story.hangs().len(), 1);
        assert_eq!(incidents(story), expected(&[(device, true)]), "{url}");
    }
}

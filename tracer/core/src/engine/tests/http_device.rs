//! When the outage of a device is over whose writes do not show that it took an entry: an HTTP server is to answer, and what a
//! syslog daemon takes only its socket shows.

use tracer_model::{
    ConfiguredDevice, DeviceFailure, EntryHead, FailureReason, Incident, Socket, Transport,
};

use super::*;

const HTTP: (Transport, &str) = (Transport::Http, "http://10.77.0.3:8080");
const HTTPS: (Transport, &str) = (Transport::Http, "https://10.77.0.3:8080");
const SYSLOG: (Transport, &str) = (Transport::Syslog, "");

/// Found by `cargo xtask truth`, on streams of HTTP/2, whose entries no port assigns: who writes for all requests of a connection to
/// the log server was started by the goroutine that made it for the first of them.
#[test]
fn who_writes_on_a_connection_that_was_dialled_for_a_request_names_nobody() {
    let mut story = Story::new();
    known_device(&mut story);
    let child = |goid, parent| Actor {
        parent: Some(parent),
        ..goroutine(goid)
    };
    let dials = |old, new| EventKind::State {
        socket: log_socket(2),
        by: Some(child(62, 20)),
        old,
        new,
        errno: 0,
        tcp: None,
    };
    story.requested(20);
    story.happens(dials(TcpState::Close, TcpState::SynSent));
    story.after(S);
    story.happens(dials(TcpState::SynSent, TcpState::Established));
    story.happens(EventKind::Send {
        socket: log_socket(2),
        by: child(63, 62),
        result: 900,
        requested: Some(900),
        entry: Some(named("id-21", EntryKind::Request)),
        tcp: None,
        status: None,
    });
    story.after(MS).answered(20).nothing_is_found();
    let hang = story.hangs()[0];
    assert_eq!(hang.request.start, hang.start);
    assert_eq!(hang.request.id, None);
}

/// On what a request writes its entries.
#[derive(Clone, Copy)]
enum On {
    /// The connection with this number to the failing device.
    Own(u64),
    /// The same within TLS: no entry can be seen.
    OwnTls(u64),
    /// The other device.
    Other,
    /// The daemon's socket.
    Daemon,
}

fn own(number: u64) -> Socket {
    socket(number, false, "10.77.0.3:8080")
}

fn daemon() -> Socket {
    Socket {
        transport: Transport::Unix,
        remote: None,
        path: Some("/dev/log".to_owned()),
        ..own(90)
    }
}

fn writes(story: &mut Story, goid: u64, kind: EntryKind, on: On) {
    let entry = named(&format!("id-{goid}"), kind);
    let (socket, entry) = match on {
        On::Own(number) => (own(number), Some(entry)),
        On::OwnTls(number) => (own(number), None),
        On::Other => (log_socket(1), Some(entry)),
        On::Daemon => (daemon(), Some(entry)),
    };
    story.sends(socket, goid, (900, 900), entry);
}

/// The log server goes after what was written, without an answer.
fn goes(story: &mut Story, number: u64, goid: u64) {
    for (old, new) in [
        (TcpState::Established, TcpState::CloseWait),
        (TcpState::CloseWait, TcpState::LastAck),
        (TcpState::LastAck, TcpState::Close),
    ] {
        story.state(own(number), goid, old, new);
    }
}

fn fails(story: &mut Story, goid: u64, (transport, address): (Transport, &str)) {
    let failure = DeviceFailure {
        path: Some("failing/".to_owned()),
        device: Some(Device::configured(transport, address)),
        ..DeviceFailure::of(FailureReason::Unknown)
    };
    story.happens(EventKind::DevicesFailed {
        by: goroutine(goid),
        phase: None,
        failures: vec![failure],
    });
}

/// A server whose device fails for one request; `takes_all`: it gets all entries.
fn outage(mut story: Story, device: (Transport, &str), takes_all: bool) -> Story {
    let configured = [(device, takes_all), ((Transport::Tcp, LOG), true)];
    let devices = configured.map(|((transport, address), takes_all)| ConfiguredDevice {
        path: format!("{}/", transport.name()),
        device: Device::configured(transport, address),
        takes_all,
    });
    story.happens(EventKind::DevicesRead {
        devices: devices.to_vec(),
    });
    story.requested(20).after(MS);
    fails(&mut story, 20, device);
    story.after(MS).answered(20).nothing_is_found().after(MS);
    story
}

fn ends(mut story: Story) -> bool {
    story.nothing_is_found();
    for _ in 0..6 {
        story.after(S / 2).happens(EventKind::Tick);
    }
    story.happens(EventKind::End);
    let incidents: Vec<&Incident> = story
        .findings
        .iter()
        .filter_map(|finding| match finding {
            Finding::Incident(incident) => Some(incident),
            _ => None,
        })
        .collect();
    let [incident] = incidents[..] else {
        panic!("{incidents:?}");
    };
    incident.end.is_some()
}

/// What is known of the device and the server's log.
#[derive(Clone, Copy, Default)]
struct Known {
    /// It gets all entries.
    takes_all: bool,
    reads_log: bool,
    /// And the log says that it fails again.
    fails_again: bool,
}

const NOTHING: Known = Known {
    takes_all: false,
    reads_log: false,
    fails_again: false,
};
const DUE: Known = Known {
    takes_all: true,
    ..NOTHING
};
const LOG_READ: Known = Known {
    reads_log: true,
    ..NOTHING
};
const DUE_AND_LOG_READ: Known = Known {
    reads_log: true,
    ..DUE
};
const FAILS_AGAIN: Known = Known {
    fails_again: true,
    ..DUE_AND_LOG_READ
};

#[test]
fn an_outage_is_over_only_when_the_device_takes_entries_again() {
    use On::{Daemon, Other, Own, OwnTls};
    for (name, device, known, on, expected) in [
        ("sent, and nothing more", HTTP, DUE, &[Own(5)][..], false),
        // Field case A12.
        ("closed each time", HTTP, DUE, &[Own(5), Own(6)], false),
        ("on one connection", HTTP, DUE, &[Own(5), Own(5)], true),
        ("the log is silent", HTTP, LOG_READ, &[Own(5)], true),
        ("the log says", HTTP, FAILS_AGAIN, &[Own(5), Own(6)], false),
        ("not due", HTTP, LOG_READ, &[Other, Other], false),
        ("due", HTTP, DUE_AND_LOG_READ, &[Other], true),
        ("due, no log", HTTP, DUE, &[Other, Other], false),
        ("within TLS", HTTPS, DUE, &[OwnTls(5)], true),
        ("the log says", HTTPS, FAILS_AGAIN, &[OwnTls(5)], false),
        ("not due", HTTPS, LOG_READ, &[Other], false),
        ("the daemon", SYSLOG, NOTHING, &[Daemon], true),
        ("no daemon, not due", SYSLOG, LOG_READ, &[Other], false),
        ("no daemon, no log", SYSLOG, DUE, &[Other], false),
        ("then the log says", SYSLOG, FAILS_AGAIN, &[Daemon], true),
    ] {
        let story = if known.reads_log {
            Story::with_log()
        } else {
            Story::new()
        };
        let mut story = outage(story, device, known.takes_all);
        for (goid, on) in (21..).zip(on) {
            story.after(MS).requested(goid).after(MS);
            writes(&mut story, goid, EntryKind::Request, *on);
            if let (Own(number), "closed each time") = (on, name) {
                goes(&mut story, *number, goid);
            }
            if known.fails_again {
                fails(&mut story, goid, device);
            }
            story.after(MS).answered(goid);
        }
        assert_eq!(ends(story), expected, "{device:?} {name}");
    }
}

/// Without an entry the server answers no request with less than 500.
#[test]
fn the_answer_to_the_client_shows_what_the_only_device_took() {
    for (status, expected) in [
        (Some(200), true),
        (Some(404), true),
        (Some(500), false),
        (None, false),
    ] {
        let mut story = outage(Story::new(), HTTP, true);
        story.happens(EventKind::DevicesRead {
            devices: vec![ConfiguredDevice {
                path: "http/".to_owned(),
                device: Device::configured(HTTP.0, HTTP.1),
                takes_all: true,
            }],
        });
        story.requested(21).after(MS);
        writes(&mut story, 21, EntryKind::Request, On::Own(5));
        story.after(MS).happens(EventKind::Send {
            socket: client_socket(21),
            by: goroutine(21),
            result: 500,
            requested: Some(500),
            entry: None,
            tcp: None,
            status,
        });
        assert_eq!(ends(story), expected, "{status:?}");
    }
}

/// Its reader does not read, and then is gone: the socket shows the one, and the server says the other.
#[test]
fn a_syslog_device_and_its_socket_have_one_outage() {
    let gone = -111; // ECONNREFUSED
    for (is_known, first_failing, incidents) in
        [(true, SYSLOG, 1), (false, SYSLOG, 1), (true, HTTP, 2)]
    {
        let mut story = Story::with_log();
        let configured = [SYSLOG, HTTP, (Transport::Tcp, LOG)];
        let devices = configured.map(|(transport, address)| ConfiguredDevice {
            path: format!("{}/", transport.name()),
            device: Device::configured(transport, address),
            takes_all: true,
        });
        story.happens(EventKind::DevicesRead {
            devices: devices.to_vec(),
        });
        let request = |goid| Some(named(&format!("id-{goid}"), EntryKind::Request));
        if is_known {
            story.requested(20).after(MS);
            writes(&mut story, 20, EntryKind::Request, On::Daemon);
            story.after(MS).answered(20);
        }
        // A request that only fails: the socket may be met for the first time after that.
        story.after(MS).requested(21).after(MS);
        fails(&mut story, 21, first_failing);
        story.after(MS).answered(21).after(MS);
        story.requested(22).after(MS);
        story.sends(daemon(), 22, (EAGAIN, 900), request(22));
        story
            .after(2 * S)
            .sends(daemon(), 22, (gone, 900), request(22));
        fails(&mut story, 22, SYSLOG);
        story.after(MS).answered(22).after(MS);
        story.requested(23).after(MS);
        fails(&mut story, 23, SYSLOG);
        story.after(MS).answered(23).after(MS);
        story.requested(24).after(MS);
        writes(&mut story, 24, EntryKind::Request, On::Daemon);
        story.after(MS).answered(24).nothing_is_found();
        for _ in 0..6 {
            story.after(S / 2).happens(EventKind::Tick);
        }
        story.happens(EventKind::End);
        let found = story.incidents();
        assert_eq!(found.len(), incidents, "{is_known} {found:?}");
        let of_daemon = |incident: &&&Incident| incident.device.is_syslog_socket();
        let its: Vec<_> = found.iter().filter(of_daemon).collect();
        assert!(its.len() == 1 && its[0].end.is_some(), "{found:?}");
        assert!(story.hangs().len() == 1, "{:?}", story.hangs());
    }
}

/// Where the server's log is not read, or beside it: what the log server answers.
#[test]
fn an_answer_that_rejects_is_a_refusal_with_its_status() {
    const WRITER: u64 = 70; // `persistConn.writeLoop`
    for (name, reads_log, says, tries, expected) in [
        ("not read", false, false, &[Some(413)][..], 1),
        ("read", true, true, &[Some(413)], 1),
        (
            "written again, and taken",
            false,
            false,
            &[Some(503), None],
            0,
        ),
        ("twice", false, false, &[Some(503), Some(413)], 1),
        ("taken", true, false, &[None], 0),
    ] {
        let mut story = if reads_log {
            Story::with_log()
        } else {
            Story::new()
        };
        story.happens(named_by_transport([HTTP, (Transport::Tcp, LOG)]));
        story.requested(20).after(MS);
        writes(&mut story, 20, EntryKind::Request, On::Other);
        for status in tries {
            let entry = EntryHead {
                over_http: true,
                ..named("id-20", EntryKind::Request)
            };
            story
                .sends(own(5), WRITER, (900, 900), Some(entry))
                .after(MS);
            if let Some(status) = *status {
                let socket = own(5);
                story.happens(EventKind::Rejected { socket, status });
            }
        }
        if says {
            let failure = DeviceFailure {
                path: Some("http/".to_owned()),
                ..DeviceFailure::of(FailureReason::Status(413))
            };
            story.happens(EventKind::DevicesFailed {
                by: goroutine(20),
                phase: None,
                failures: vec![failure],
            });
        }
        story.after(MS).answered(20).nothing_is_found().after(MS);
        // The writer goes on to another request.
        story.requested(21).after(MS);
        writes(&mut story, 21, EntryKind::Request, On::Other);
        let entry = EntryHead {
            over_http: true,
            ..named("id-21", EntryKind::Request)
        };
        story.sends(own(5), WRITER, (900, 900), Some(entry));
        story.after(MS).answered(21).nothing_is_found().after(MS);
        story.happens(EventKind::End);
        let told = story.refusals();
        assert_eq!(told.len(), expected, "{name}: {told:?}");
        for refusal in told {
            let shown = (refusal.cause, refusal.http_status, refusal.inferred);
            assert_eq!(shown, (Cause::Rejected, Some(413), false), "{name}");
            assert_eq!(refusal.request.id.as_deref(), Some("id-20"), "{name}");
            assert!(refusal.taken_elsewhere, "{name}");
        }
        let failed = story
            .incidents()
            .iter()
            .map(|i| i.untaken.failed)
            .sum::<Option<u64>>();
        assert_eq!(
            failed.unwrap_or(0),
            expected as u64,
            "{name}: {:?}",
            story.incidents()
        );
    }
}

/// The table of these audit devices, each at the path that its transport is called by.
pub(super) fn named_by_transport(devices: [(Transport, &str); 2]) -> EventKind {
    let devices = devices.map(|(transport, address)| ConfiguredDevice {
        path: format!("{}/", transport.name()),
        device: Device::configured(transport, address),
        takes_all: true,
    });
    EventKind::DevicesRead {
        devices: devices.to_vec(),
    }
}

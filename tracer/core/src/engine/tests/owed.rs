//! Devices that fail without a sign, beside others that take the entries; and each reason for which a device owes nothing.

use tracer_model::{BufferedTotals, ConfiguredDevice, EntryHead, Socket, Transport};

use super::*;

/// Another socket device.
const OTHER: &str = "10.77.0.3:1515";
/// An address that is nobody's.
const FOREIGN: &str = "10.77.0.9:1999";
const FILE: &str = "/var/log/audit.log";

fn table(devices: &[(Transport, &str, bool)]) -> EventKind {
    let devices = devices.iter().map(|(transport, address, takes_all)| {
        let device = Device::configured(*transport, address);
        ConfiguredDevice {
            path: format!("{address}/"),
            device,
            takes_all: *takes_all,
        }
    });
    EventKind::DevicesRead {
        devices: devices.collect(),
    }
}

/// Two socket devices that get all entries.
fn both() -> EventKind {
    table(&[(Transport::Tcp, LOG, true), (Transport::Tcp, OTHER, true)])
}

fn to(address: &str) -> Socket {
    socket(if address == LOG { 1 } else { 2 }, false, address)
}

/// A request whose entries go to these devices, and that is answered.
fn served(story: &mut Story, goid: u64, to_devices: &[Socket]) {
    story.after(50 * MS).requested(goid).after(MS);
    for kind in [EntryKind::Request, EntryKind::Response] {
        for device in to_devices {
            let entry = named(&format!("id-{goid}"), kind);
            story.sends(device.clone(), goid, (900, 900), Some(entry));
        }
    }
    story.after(MS).answered(goid);
}

fn sampled(story: &mut Story, goroutines: Vec<tracer_model::GoroutineSample>) {
    story.happens(EventKind::GoroutinesSampled {
        goroutines,
        handlers: Some(Vec::new()),
    });
}

/// A second passes, and a sample finds nobody in a device's code.
fn settles(story: &mut Story) {
    story.after(S + MS).happens(EventKind::Tick);
    sampled(story, Vec::new());
}

#[test]
fn a_device_that_took_none_of_the_entries_that_another_took_fails() {
    for (transport, address) in [
        (Transport::Tcp, OTHER),
        (Transport::Tcp, "[fd00::3]:1515"),
        (Transport::Udp, OTHER),
        (Transport::Udp, "[fd00::3]:1515"),
        (Transport::Unix, "/run/log.sock"),
        (Transport::Http, "http://10.77.0.3:1515"),
        (Transport::Syslog, ""),
    ] {
        let mut failing = socket(2, false, OTHER);
        match transport {
            Transport::Unix | Transport::Syslog => {
                failing.transport = Transport::Unix;
                failing.remote = None;
                let path = if address.is_empty() {
                    "/dev/log"
                } else {
                    address
                };
                failing.path = Some(path.to_owned());
            }
            Transport::Http => {}
            _ => {
                failing.transport = transport;
                failing.remote = Some(address.parse().expect("an address"));
            }
        }
        let mut story = Story::new();
        story.happens(table(&[
            (Transport::Tcp, LOG, true),
            (transport, address, true),
        ]));
        served(&mut story, 20, &[to(LOG), failing.clone()]);
        for goid in 21..24 {
            served(&mut story, goid, &[to(LOG)]);
        }
        settles(&mut story);
        let found: Vec<_> = story
            .refusals()
            .iter()
            .map(|r| (r.request.id.clone().unwrap_or_default(), r.before))
            .collect();
        let expected = [("id-21", 0), ("id-22", 1), ("id-23", 2)];
        let expected = expected.map(|(id, before)| (id.to_owned(), before));
        assert_eq!(found, expected, "{transport:?}");
        let first = story.refusals()[0];
        assert_eq!((first.cause, first.inferred), (Cause::Unknown, true));
        assert_eq!(first.device, Device::configured(transport, address));
        // While it fails, the next request is found a second later.
        served(&mut story, 24, &[to(LOG)]);
        settles(&mut story);
        served(&mut story, 25, &[to(LOG), failing]);
        let end = story.now;
        let summary_of = story.incidents_after(8);
        let [incident] = &summary_of[..] else {
            panic!("{transport:?}: {summary_of:?}");
        };
        // A syslog device is known by its socket, once that is seen.
        let socket = match transport {
            Transport::Syslog => "/dev/log",
            _ => address,
        };
        assert_eq!(incident.device.address, socket);
        assert!(incident.end.is_some_and(|at| at <= end), "{incident:?}");
        assert_eq!((incident.refusals, incident.hangs), (4, 0));
        assert_eq!(incident.untaken.failed, Some(8), "{transport:?}");
        assert!(incident.untaken.at_least);
    }
}

/// What happens after both have taken the entries of one request, beside the requests whose entries only the first takes.
type Happens = fn(&mut Story);

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_not_due_is_not_missed() {
    let misses = |story: &mut Story| {
        for goid in 31..35 {
            served(story, goid, &[to(LOG)]);
        }
    };
    let one_by_one = |story: &mut Story, what: EventKind| {
        for goid in 31..35 {
            story.happens(what.clone());
            story.after(50 * MS).requested(goid);
            let entry = named(&format!("id-{goid}"), EntryKind::Request);
            story.sends(to(LOG), goid, (900, 900), Some(entry));
            story.happens(what.clone()).after(MS).answered(goid);
        }
    };
    let lost = || EventKind::RecordsLost {
        kind: "entry".to_owned(),
        records: 1,
        until: None,
    };
    let cases: [(&str, EventKind, Happens); 13] = [
        (
            "a filter, or only a fallback",
            table(&[(Transport::Tcp, LOG, true), (Transport::Tcp, OTHER, false)]),
            |_| {},
        ),
        (
            "the only device",
            table(&[(Transport::Tcp, OTHER, true)]),
            |_| {},
        ),
        ("a table that cannot be read", table(&[]), |_| {}),
        ("removed, as the next sample says", both(), |story| {
            served(story, 30, &[to(LOG)]);
            served(story, 29, &[to(LOG)]);
            story.happens(table(&[(Transport::Tcp, LOG, true)]));
        }),
        ("added, and never seen to take anything", both(), |story| {
            let more = (Transport::Tcp, "10.77.0.4:1515", true);
            story.happens(table(&[(Transport::Tcp, LOG, true), more]));
        }),
        ("a filter from now on", both(), |story| {
            story.happens(table(&[
                (Transport::Tcp, LOG, true),
                (Transport::Tcp, OTHER, false),
            ]));
        }),
        ("one alone", both(), |story| {
            served(story, 30, &[to(LOG)]);
            for goid in 25..29 {
                served(story, goid, &[to(LOG), to(OTHER)]);
                served(story, goid + 20, &[to(LOG)]);
                served(story, goid + 10, &[to(LOG), to(OTHER)]);
            }
        }),
        ("an address that is nobody's took it", both(), |story| {
            for goid in 25..29 {
                served(story, goid, &[to(LOG), to(FOREIGN)]);
            }
        }),
        ("a stack in its code", both(), |story| {
            served(story, 30, &[to(LOG)]);
            served(story, 29, &[to(LOG)]);
            story.after(S + MS);
            let device = Device::configured(Transport::Tcp, OTHER);
            let parked = parked(77, WaitReason::Other, None, Some(device));
            sampled(story, vec![parked]);
        }),
        ("it failed by itself", both(), |story| {
            story.requested(30).after(MS);
            let entry = named("id-30", EntryKind::Request);
            story.sends(to(OTHER), 30, (-32, 900), Some(entry));
            story.findings.clear();
        }),
        ("not audited", both(), |story| {
            for goid in 25..29 {
                served(story, goid, &[]);
            }
            story.nothing_is_found();
        }),
        ("buffered meanwhile", both(), |story| {
            served(story, 30, &[to(LOG)]);
            served(story, 29, &[to(LOG)]);
            story.happens(EventKind::BufferingEnded(BufferedTotals::default()));
        }),
        ("the server began again", both(), |story| {
            served(story, 30, &[to(LOG)]);
            served(story, 29, &[to(LOG)]);
            story.happens(EventKind::ServerEnded);
            story.findings.clear();
        }),
    ];
    let has_misses = |name: &str| {
        matches!(
            name,
            "a filter, or only a fallback"
                | "the only device"
                | "a table that cannot be read"
                | "a filter from now on"
        ) || name.starts_with("added")
    };
    for (name, devices, happens) in cases {
        let mut story = Story::new();
        story.happens(devices);
        served(&mut story, 20, &[to(LOG), to(OTHER)]);
        happens(&mut story);
        if has_misses(name) {
            misses(&mut story);
        }
        settles(&mut story);
        let found: Vec<_> = story
            .refusals()
            .into_iter()
            .filter(|r| r.inferred)
            .collect();
        assert!(found.is_empty(), "{name}: {found:?}");
    }
    for what in [lost(), both()] {
        let mut story = Story::new();
        story.happens(both());
        served(&mut story, 20, &[to(LOG), to(OTHER)]);
        one_by_one(&mut story, what);
        settles(&mut story);
        assert!(story.refusals().is_empty(), "{:?}", story.findings);
    }
}

mod files;
mod random;

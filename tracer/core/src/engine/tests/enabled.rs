//! Devices that are enabled or disabled while the trace goes on: the server writes to a new one before its table has it, to try
//! it.

use tracer_model::{ConfiguredDevice, EntryHead, Transport};

use super::*;

const NEW: &str = "10.77.0.3:1515";

fn reads_table(story: &mut Story, devices: &[(&str, &str)]) {
    let devices = devices.iter().map(|(path, address)| ConfiguredDevice {
        path: (*path).to_owned(),
        device: Device::configured(Transport::Tcp, address),
        takes_all: true,
    });
    let devices = devices.collect();
    story.happens(EventKind::DevicesRead { devices });
}

fn test_entry() -> EntryHead {
    EntryHead {
        operation: Some("update".to_owned()),
        path: Some("sys/audit/test".to_owned()),
        ..named("id-test", EntryKind::Request)
    }
}

/// Beside its twin, a client's request to enable a device of the name `test`.
#[test]
fn the_entry_that_tries_a_device_names_no_request() {
    let of_client = EntryHead {
        remote_address: Some("127.0.0.1".to_owned()),
        ..test_entry()
    };
    for (entry, id) in [(test_entry(), "id-x"), (of_client, "id-test")] {
        for is_named_before in [false, true] {
            let mut story = Story::new();
            story.requested(20);
            if is_named_before {
                let own = named(id, EntryKind::Request);
                story.sends(log_socket(1), 20, (900, 900), Some(own));
            }
            story.connects(2, 20).after(S);
            story.state(log_socket(2), 20, TcpState::SynSent, TcpState::Established);
            story.sends(log_socket(2), 20, (900, 900), Some(entry.clone()));
            let own = named(id, EntryKind::Response);
            story.sends(log_socket(2), 20, (900, 900), Some(own));
            story.after(MS).answered(20).nothing_is_found();
            let [hang] = story.hangs()[..] else {
                panic!("{id} {is_named_before}: {:?}", story.findings);
            };
            assert_eq!(hang.request.id.as_deref(), Some(id));
            assert!(!hang.request.lower_bound, "{id} {is_named_before}");
            assert_eq!(story.summary().requests, 1, "{id} {is_named_before}");
        }
    }
}

/// While its table has but one device, the server tries another one that the first may be, by its port.
#[test]
fn a_device_is_itself_once_the_table_has_it() {
    for (address, expected) in [
        (NEW, "b/ (tcp 10.77.0.3:1515)"),
        // It may be either's.
        ("two.lab:1515", "tcp 10.77.0.3:1515"),
        // The twins: this one leads elsewhere.
        ("two.lab:1516", "a/ (tcp one.lab:1515)"),
        ("10.77.0.4:1515", "a/ (tcp one.lab:1515)"),
    ] {
        for waits_before in [false, true] {
            let mut story = Story::new();
            let both = [("a/", "one.lab:1515"), ("b/", address)];
            reads_table(&mut story, &both[..1]);
            story.requested(20);
            let new = |number| socket(number, false, NEW);
            story.sends(new(50), 20, (900, 900), Some(test_entry()));
            story.after(MS).answered(20).requested(21);
            if !waits_before {
                reads_table(&mut story, &both);
            }
            let entry = |kind| Some(named("id-21", kind));
            story.sends(new(50), 21, (EAGAIN, 900), entry(EntryKind::Request));
            if waits_before {
                reads_table(story.after(MS), &both);
            }
            story.after(2 * S);
            story.state(new(50), 21, TcpState::Established, TcpState::FinWait1);
            story.sends(new(51), 21, (900, 900), entry(EntryKind::Request));
            story.after(MS).answered(21).nothing_is_found();
            let [hang] = story.hangs()[..] else {
                panic!("{address} {waits_before}: {:?}", story.findings);
            };
            assert_eq!(hang.device.to_string(), expected, "{waits_before}");
            let incidents = story.incidents_after(6);
            let [incident] = &incidents[..] else {
                panic!("{address} {waits_before}: {incidents:?}");
            };
            assert_eq!(incident.device.to_string(), expected, "{waits_before}");
            assert!(incident.end.is_some(), "{address} {waits_before}");
        }
    }
}

/// Who is enabled in an outage may be what makes up for it.
#[test]
fn an_outage_is_over_when_the_address_takes_entries_at_which_it_was_met() {
    for (address, expected) in [
        ("two.lab:1515", "tcp 10.77.0.3:1515"),
        // The twin: this one leads elsewhere.
        ("two.lab:1516", "a/ (tcp one.lab:1515)"),
    ] {
        let mut story = Story::new();
        let both = [("a/", "one.lab:1515"), ("b/", address)];
        reads_table(&mut story, &both[..1]);
        let new = |number| socket(number, false, NEW);
        let writes = |story: &mut Story, number, goid: u64| {
            let entry = named(&format!("id-{goid}"), EntryKind::Request);
            story.sends(new(number), goid, (900, 900), Some(entry));
        };
        story.requested(20);
        writes(&mut story, 50, 20);
        story.after(MS).answered(20).after(S).requested(21);
        for number in [51, 52] {
            story.state(new(number), 21, TcpState::Close, TcpState::SynSent);
            story.after(MS / 10).happens(EventKind::Reset {
                socket: new(number),
            });
            story.state(new(number), 21, TcpState::SynSent, TcpState::Close);
        }
        story.after(MS).answered(21).nothing_is_found();
        assert_eq!(story.refusals().len(), 1, "{address}");
        reads_table(story.after(MS), &both);
        story.after(S).requested(22);
        writes(&mut story, 53, 22);
        story.answered(22);
        let incidents = story.incidents_after(6);
        let [incident] = &incidents[..] else {
            panic!("{address}: {incidents:?}");
        };
        assert_eq!(incident.device.to_string(), expected);
        assert!(incident.end.is_some(), "{address}");
    }
}

/// Disabling it is what an operator does with a dead device. Its outage lasted to the end of the trace, and nothing was buffered
/// until then.
#[test]
fn the_outage_of_a_device_that_is_disabled_is_reported_without_an_end() {
    for is_back in [false, true] {
        let mut story = Story::new();
        let table = [("a/", LOG)];
        reads_table(&mut story, &table);
        story.requested(20).logs(1, 20, EntryKind::Request);
        story.answered(20).requested(21);
        story.connects(2, 21).after(2 * S);
        story.gives_up_connecting(2, 21).connects(3, 21);
        // While the last attempt goes on.
        reads_table(story.after(S), &[]);
        story.after(S).gives_up_connecting(3, 21);
        story.after(MS).answered(21).nothing_is_found();
        if is_back {
            reads_table(&mut story, &table);
            story.requested(22).logs(4, 22, EntryKind::Request);
            story.answered(22);
        }
        let incidents = story.incidents_after(6);
        let [incident] = &incidents[..] else {
            panic!("{is_back}: {incidents:?}");
        };
        assert_eq!((incident.end, incident.hangs), (None, 1), "{is_back}");
        assert_eq!(incident.blocked, 4 * S, "{is_back}");
        if is_back {
            story.requested(23).connects(5, 23).after(2 * S);
            story.gives_up_connecting(5, 23).after(MS).answered(23);
            story.requested(24).logs(6, 24, EntryKind::Request);
            story.answered(24).nothing_is_found();
            let ended = story.incidents_after(6);
            assert!(ended[1].end.is_some(), "the next one ends: {ended:?}");
        }
    }
}

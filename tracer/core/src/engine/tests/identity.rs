//! A device is what its operator configured, whatever addresses it is met under.

use std::net::IpAddr;

use tracer_model::{Actor, ConfiguredDevice, EntryHead, Hang, Phase, Stall, Tcp, Transport};

use super::*;

const NAME: &str = "log.lab:1515";
const SECOND: &str = "[2001:db8::2]:1515";

fn configured(story: &mut Story, path: &str, transport: Transport, address: &str) {
    let devices = vec![ConfiguredDevice {
        path: path.to_owned(),
        device: Device::new(transport, address),
        takes_all: true,
    }];
    story.happens(EventKind::DevicesRead { devices });
}

/// After a hang under the one address, a request whose entries are taken under another.
fn works_again_elsewhere(story: &mut Story, to: &str) {
    known_device(story);
    story.requested(20).dials_twice(2, 20).dials_twice(4, 20);
    story.answered(20).nothing_is_found();
    story.after(S).requested(21);
    let other = || socket(50, false, to);
    story.state(other(), 21, TcpState::Close, TcpState::SynSent);
    story
        .after(MS)
        .state(other(), 21, TcpState::SynSent, TcpState::Established);
    for kind in [EntryKind::Request, EntryKind::Response] {
        story.sends(other(), 21, (900, 900), Some(named("id-2", kind)));
    }
    story.answered(21).after(S).happens(EventKind::Tick);
}

#[test]
fn an_incident_ends_when_entries_are_taken_under_another_address() {
    for (transport, address, second) in [
        (Transport::Tcp, NAME, SECOND),
        (Transport::Http, "http://log.lab:1515", "10.77.0.3:1515"),
    ] {
        let mut story = Story::new();
        configured(&mut story, "socket/", transport, address);
        works_again_elsewhere(&mut story, second);
        let hang = story.hangs()[0];
        assert_eq!(hang.device, Device::new(transport, address));
        assert_eq!(hang.device.path.as_deref(), Some("socket/"));
        assert_eq!(hang.cause(), Cause::SynUnanswered);
        let [incident] = story.incidents()[..] else {
            panic!("{:?}", story.findings)
        };
        assert!(incident.end.is_some(), "{incident:?}");
        assert_eq!(incident.device.addresses, [LOG, second]);
        assert!(story.core.may_buffer());
        let devices = story.core.snapshot(story.now).devices;
        let [device] = &devices[..] else {
            panic!("{devices:?}")
        };
        assert_eq!(device.entries, Some(4));
    }
}

/// The negative twins: a server whose configuration is not known, and another device.
#[test]
fn an_incident_does_not_end_by_what_another_device_takes() {
    for (configured_at, second) in [
        (None, SECOND),
        (Some(LOG), SECOND),
        (Some(NAME), "10.77.0.3:1516"),
    ] {
        let mut story = Story::new();
        if let Some(address) = configured_at {
            configured(&mut story, "socket/", Transport::Tcp, address);
        }
        works_again_elsewhere(&mut story, second);
        assert!(story.incidents().is_empty(), "{configured_at:?}");
        assert!(!story.core.may_buffer());
    }
}

/// Entries cannot be seen on their way to an HTTPS device; a stack in its code shows whose the address is.
#[test]
fn a_dial_that_a_stack_in_the_devices_code_waits_for_is_the_devices() {
    let url = "https://log.lab";
    for (port, is_its) in [(443, true), (6443, false)] {
        let mut story = Story::new();
        configured(&mut story, "web/", Transport::Http, url);
        let device = Device::new(Transport::Http, url);
        let to = || socket(50, false, &format!("10.77.0.9:{port}"));
        let dialer = Actor {
            goid: Some(77),
            parent: Some(20),
            ..Actor::default()
        };
        let state = |old, new| EventKind::State {
            socket: to(),
            by: Some(dialer),
            old,
            new,
            errno: 0,
            tcp: None,
        };
        story.requested(20);
        story.happens(state(TcpState::Close, TcpState::SynSent));
        for _ in 0..3 {
            let goroutines = vec![parked(20, WaitReason::Connect, None, Some(device.clone()))];
            let sampled = EventKind::GoroutinesSampled {
                goroutines,
                handlers: None,
            };
            story.after(500 * MS).happens(sampled);
        }
        story
            .after(500 * MS)
            .happens(state(TcpState::SynSent, TcpState::Close));
        story.answered(20).nothing_is_found();
        let hangs = story.hangs();
        assert_eq!(hangs.len(), usize::from(is_its), "{port}: {hangs:?}");
        for hang in hangs {
            assert_eq!(
                (&hang.device, hang.cause()),
                (&device, Cause::SynUnanswered)
            );
            assert_eq!(hang.device.addresses, ["10.77.0.9:443"]);
        }
    }
}

/// What the kernel still tries to deliver for minutes keeps nobody from being quiet, and its loss is reported all the same.
#[test]
fn a_connection_that_the_server_has_given_up_does_not_end_the_quiet() {
    let tcp = |una| Tcp {
        una,
        nxt: 900,
        end: 900,
        ..Tcp::default()
    };
    let mut story = Story::new();
    let state = |old, new| EventKind::State {
        socket: log_socket(1),
        by: Some(goroutine(20)),
        old,
        new,
        errno: 0,
        tcp: Some(tcp(0)),
    };
    story.requested(20);
    story.happens(EventKind::Send {
        socket: log_socket(1),
        by: goroutine(20),
        result: 900,
        requested: Some(900),
        entry: Some(entry(EntryKind::Request)),
        tcp: Some(tcp(0)),
        status: None,
    });
    story.happens(state(TcpState::Established, TcpState::FinWait1));
    story.answered(20).after(S).happens(EventKind::Tick);
    assert!(story.core.may_buffer());
    story.happens(EventKind::BufferingEnded(
        tracer_model::BufferedTotals::default(),
    ));
    story.happens(state(TcpState::FinWait1, TcpState::Close));
    story.after(S).happens(EventKind::Tick);
    let lost =
        |finding: &Finding| matches!(finding, Finding::LostEntries(loss) if loss.bytes == 900);
    assert!(story.findings.iter().any(lost), "{:?}", story.findings);
}

/// Field case A9: an audit file is asked for the entry of a client by what its entries were seen to name.
#[test]
fn a_client_behind_a_proxy_is_not_taken_for_another_with_its_port() {
    let own: IpAddr = [127, 0, 0, 1].into();
    for (address, port, asked) in [
        (None, 50_005, Some(Some(own))),
        (Some("127.0.0.1"), 50_005, Some(Some(own))),
        // X-Forwarded-For: another address.
        (Some("192.0.2.1"), 50_005, Some(None)),
        // The PROXY protocol: another port too.
        (Some("192.0.2.1"), 40_000, None),
        (Some("127.0.0.1"), 40_000, None),
    ] {
        let mut story = Story::new();
        story.requested(5);
        for kind in [EntryKind::Request, EntryKind::Response] {
            let entry = EntryHead {
                remote_address: address.map(str::to_owned),
                remote_port: Some(port),
                ..named("id-5", kind)
            };
            story.sends(log_socket(1), 5, (900, 900), Some(entry));
        }
        story.answered(5).requested(20).dials_twice(2, 20);
        story.answered(20);
        let queries: Vec<_> = story.queries.iter().map(|q| q.client_address).collect();
        let expected: Vec<_> = asked.into_iter().collect();
        assert_eq!(queries, expected, "{address:?} {port}");
        // Nor does an entry that another goroutine writes name it.
        let mut other = EntryHead {
            remote_address: Some("192.0.2.7".to_owned()),
            remote_port: Some(50_021),
            ..named("id-other", EntryKind::Request)
        };
        other.time = None;
        story.nothing_is_found().requested(21).after(MS);
        story.sends(log_socket(1), 77, (EAGAIN, 900), Some(other.clone()));
        story
            .after(S)
            .sends(log_socket(1), 77, (900, 900), Some(other));
        story.answered(21).after(4 * S).happens(EventKind::Tick);
        story.nothing_is_found();
        let of_client = |hang: &&&Hang| hang.request.client.map(|c| c.port()) == Some(50_021);
        let hangs = story.hangs();
        let is_taken = hangs.iter().any(|hang| of_client(&hang));
        assert_eq!(is_taken, asked == Some(None), "{address:?} {port}");
    }
}

/// What becomes of two dials to the addresses of one name, of which the second one is begun 300 ms after the first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Race {
    /// The second one is answered, and the first is seen to end before the entry is written there.
    EndsBeforeTheEntry,
    /// After it.
    EndsAfterTheEntry,
    /// After the answer to the client.
    EndsAfterTheAnswer,
    /// Neither is answered.
    NobodyWins,
}

/// The winner takes the entry: no failure of the device is left, whenever the other dial is seen to be cancelled.
#[test]
fn the_loser_of_racing_dials_is_no_outage_once_the_winner_took_the_entry() {
    use Race::{EndsAfterTheAnswer, EndsAfterTheEntry, EndsBeforeTheEntry, NobodyWins};
    for race in [
        EndsBeforeTheEntry,
        EndsAfterTheEntry,
        EndsAfterTheAnswer,
        NobodyWins,
    ] {
        let mut story = Story::new();
        configured(&mut story, "socket/", Transport::Tcp, NAME);
        known_device(&mut story);
        let dial = |story: &mut Story, goid, old, new| {
            let (number, remote) = if goid == 31 { (5, SECOND) } else { (6, LOG) };
            let racer = Actor {
                parent: Some(20),
                ..goroutine(goid)
            };
            story.happens(EventKind::State {
                socket: socket(number, false, remote),
                by: Some(racer),
                old,
                new,
                errno: 0,
                tcp: None,
            });
        };
        let loses = |story: &mut Story| {
            dial(story.after(MS), 31, TcpState::SynSent, TcpState::Close);
        };
        story.after(60 * S).requested(20).after(MS);
        let begin = story.now;
        dial(&mut story, 31, TcpState::Close, TcpState::SynSent);
        // Whose the address is.
        let device = Some(Device::new(Transport::Tcp, NAME));
        story.after(200 * MS).happens(EventKind::GoroutinesSampled {
            goroutines: vec![parked(20, WaitReason::Connect, None, device)],
            handlers: None,
        });
        story.after(100 * MS);
        dial(&mut story, 32, TcpState::Close, TcpState::SynSent);
        story.after(MS);
        let mut taken = None;
        if race == NobodyWins {
            loses(&mut story);
            dial(&mut story, 32, TcpState::SynSent, TcpState::Close);
        } else {
            dial(&mut story, 32, TcpState::SynSent, TcpState::Established);
            if race == EndsBeforeTheEntry {
                loses(&mut story);
            }
            story.after(MS).logs(6, 20, EntryKind::Request);
            taken = Some(story.now);
            if race == EndsAfterTheEntry {
                loses(&mut story);
            }
            story.after(S).logs(6, 20, EntryKind::Response);
        }
        story.after(MS).answered(20);
        if race == EndsAfterTheAnswer {
            loses(&mut story);
        }
        story.nothing_is_found();
        let [hang] = story.hangs()[..] else {
            panic!("{race:?}: {:?}", story.findings);
        };
        let of_request = |stall: &Stall| stall.phase == Phase::Request;
        assert!(hang.stalls.iter().all(of_request), "{race:?}: {hang:?}");
        assert!(hang.duration <= 303 * MS, "{race:?}: {hang:?}");
        for _ in 0..6 {
            story.after(S / 2).happens(EventKind::Tick);
        }
        assert_eq!(story.core.may_buffer(), taken.is_some(), "{race:?}");
        story.happens(EventKind::End);
        let found = story.incidents().into_iter();
        let found: Vec<_> = found.map(|i| (i.start, i.end, i.hangs)).collect();
        assert_eq!(found, [(begin, taken, 1)], "{race:?}");
    }
}

use tracer_model::{Actor, EntryHead, RequestInfo, SocketId};

use super::*;

fn file() -> Device {
    Device::new(Transport::File, "/var/log/audit.log")
}

fn hang(start: Nanos, end: Nanos) -> Hang {
    Hang {
        id: None,
        start,
        end,
        duration: end - start,
        device: file(),
        request: RequestInfo::default(),
        stalls: Vec::new(),
    }
}

fn write(start: Nanos, end: Nanos) -> Operation {
    Operation {
        outcome: Some(Outcome::Ok),
        ..Operation::new(Op::Write, file(), Actor::default(), (start, end))
    }
}

/// Of each order in which the hangs of an outage may become known, the incident has them all, and none of another outage.
#[test]
fn a_hang_counts_for_its_incident_whatever_becomes_known_first() {
    for before in 0..=3 {
        let mut incidents = Incidents::default();
        let hangs = [hang(200, 900), hang(300, 950), hang(100, 1000)];
        incidents.add_hang(&hang(5000, 6000));
        hangs[..before].iter().for_each(|h| incidents.add_hang(h));
        incidents.observe(&write(100, 1000), 100);
        hangs[before..].iter().for_each(|h| incidents.add_hang(h));
        let settled = incidents.take_settled(10_000 * S, |_, _| false);
        let [incident] = &settled[..] else {
            panic!("{settled:?}");
        };
        assert_eq!((incident.hangs, incident.longest), (3, 900), "{before}");
        assert_eq!(incidents.kept(), 1, "only when it ended is kept");
    }
}

const S: Nanos = 1_000_000_000;

fn fails((start, end): (Nanos, Nanos)) -> Operation {
    Operation {
        outcome: Some(Outcome::Timeout),
        ..Operation::new(Op::Write, file(), Actor::default(), (start, end))
    }
}

/// Several requests wait at once, and each is known when it is over: in any order.
#[test]
fn waits_that_overlap_are_one_incident_in_any_order() {
    let waits = [(0, 4 * S), (2 * S, 6 * S), (5 * S, 9 * S), (8 * S, 12 * S)];
    let orders = [[0, 1, 2, 3], [0, 3, 1, 2], [3, 0, 2, 1], [2, 0, 3, 1]];
    for order in orders {
        let mut incidents = Incidents::default();
        for wait in order.map(|place| waits[place]) {
            incidents.observe(&write(wait.0, wait.1), S / 10);
            incidents.add_hang(&hang(wait.0, wait.1));
        }
        let settled = incidents.take_settled(1000 * S, |_, _| false);
        let [incident] = &settled[..] else {
            panic!("{order:?}: {settled:?}");
        };
        let seen = (incident.start, incident.end, incident.hangs);
        assert_eq!(seen, (0, Some(12 * S), 4), "{order:?}");
    }
}

#[test]
fn a_device_that_fails_again_and_again_has_one_incident_and_a_retry_that_went_well_none() {
    for (every, is_refused, expected) in [(S / 2, true, 1), (S / 2, false, 0), (20 * S, true, 30)] {
        let mut incidents = Incidents::default();
        let mut reported = 0;
        for at in (1..=30).map(|number| number * every) {
            incidents.observe(&fails((at, at)), S / 10);
            incidents.observe(&write(at, at + S / 1000), S / 10);
            if is_refused {
                incidents.add_refusal(&file(), at);
            }
            reported += incidents.take_settled(at + S / 4, |_, _| false).len();
        }
        reported += incidents.take_settled(1000 * S, |_, _| false).len();
        assert_eq!(reported, expected, "{every} {is_refused}");
    }
}

/// Found by `cargo xtask truth`: the queue of a device that works again takes its time, and whose time is over is dropped in it.
#[test]
fn an_entry_that_queued_in_an_outage_is_missed_in_it_whenever_it_was_dropped() {
    for (when, expected) in [
        ((2 * S, 3 * S), 1),
        ((2 * S, 6 * S), 1),
        ((5 * S, 6 * S), 0),
    ] {
        let mut incidents = Incidents::default();
        incidents.observe(&fails((0, 2 * S)), S / 10);
        incidents.observe(&write(4 * S, 4 * S + S / 1000), S / 10);
        incidents.add_refusal(&file(), S);
        incidents.add_untaken_entry(&file(), when, false, None);
        let settled = incidents.take_settled(1000 * S, |_, _| false);
        let [incident] = &settled[..] else {
            panic!("{settled:?}");
        };
        assert_eq!(incident.untaken.missed.unwrap_or(0), expected, "{when:?}");
    }
}

/// A connection attempt that goes on when the device has long worked again on another connection is no further outage.
#[test]
fn what_began_in_a_reported_incident_of_an_http_device_begins_no_other() {
    for (transport, expected) in [(Transport::Http, 0), (Transport::Tcp, 1)] {
        let of = |op, (start, end), outcome| Operation {
            socket: Some(SocketId { born: 1, slot: 0 }),
            outcome,
            entry: (op == Op::Write).then(EntryHead::default),
            ..Operation::new(
                op,
                Device::new(transport, "x"),
                Actor::default(),
                (start, end),
            )
        };
        let mut incidents = Incidents::default();
        incidents.observe(&of(Op::Connect, (100, 900), None), 100);
        // The second one shows that the first was answered.
        for at in [1000, 1001] {
            incidents.observe(&of(Op::Write, (at, at), Some(Outcome::Ok)), 100);
        }
        assert_eq!(incidents.take_settled(10_000 * S, |_, _| false).len(), 1);
        incidents.observe(&of(Op::Connect, (100, 5000), None), 100);
        assert_eq!(incidents.take_all().len(), expected, "{transport:?}");
        incidents.observe(&of(Op::Connect, (2000, 5000), None), 100);
        assert_eq!(incidents.take_all().len(), 1, "a new one");
    }
}

//! What is lost and when it is known, and how long a device is in trouble.

use std::net::SocketAddr;

use super::story::*;
use tracer_format::text::explain;
use tracer_model::{
    EntryHead, EntryKind, EventKind, Finding, LossTotals, LostEntries, SendQueue, Socket, Tcp,
    TcpState, Transport,
};

const LOCAL: &str = "10.77.0.1:40000";
const EPIPE: i64 = -32;
const ECONNREFUSED: i64 = -111;
const EMSGSIZE: i64 = -90;

pub(super) fn tcp(una: u32, end: u32) -> Tcp {
    Tcp {
        una,
        nxt: end,
        end,
        ..Tcp::default()
    }
}

pub(super) fn local(number: u64) -> SocketAddr {
    let mut local: SocketAddr = LOCAL.parse().expect("an address");
    local.set_port(40_000 + number as u16);
    local
}

pub(super) fn bound(number: u64) -> Socket {
    Socket {
        local: Some(local(number)),
        ..log_socket(number)
    }
}

/// An entry of 900 bytes that the send buffer takes, and nobody has acknowledged yet.
pub(super) fn unacknowledged(story: &mut Story, number: u64, goid: u64) {
    story.happens(EventKind::Send {
        socket: bound(number),
        by: goroutine(goid),
        result: 900,
        requested: Some(900),
        entry: Some(EntryHead {
            id: Some(format!("id-{number}")),
            ..entry(EntryKind::Request)
        }),
        tcp: Some(tcp(0, 900)),
        status: None,
    });
}

pub(super) fn changes(story: &mut Story, number: u64, (old, new): (TcpState, TcpState), tcp: Tcp) {
    story.happens(EventKind::State {
        socket: bound(number),
        by: Some(goroutine(20)),
        old,
        new,
        errno: 0,
        tcp: Some(tcp),
    });
}

pub(super) fn server_closes(story: &mut Story, number: u64) {
    let change = (TcpState::Established, TcpState::FinWait1);
    changes(story, number, change, tcp(0, 900));
}

pub(super) fn losses<'a>(story: &'a Story) -> Vec<&'a LostEntries> {
    let of = |finding: &'a Finding| match finding {
        Finding::LostEntries(loss) => Some(loss),
        _ => None,
    };
    story.findings.iter().filter_map(of).collect()
}

/// A log server that is stopped: its host's RST comes over the first entry, before anything failed.
#[test]
fn what_a_reset_lost_is_in_the_account_of_the_failure_that_follows() {
    let mut story = Story::new();
    story.requested(20);
    unacknowledged(&mut story, 1, 20);
    story.happens(EventKind::Reset { socket: bound(1) });
    let closed = (TcpState::CloseWait, TcpState::Close);
    changes(&mut story, 1, closed, tcp(0, 900));
    story
        .after(MS)
        .sends(bound(1), 20, (EPIPE, 900), Some(entry(EntryKind::Response)));
    story
        .after(MS)
        .logs(2, 20, EntryKind::Response)
        .answered(20);
    story.after(S).happens(EventKind::Tick);
    let [incident] = story.incidents()[..] else {
        panic!("{:?}", story.findings);
    };
    let (bytes, entries) = (900, 1);
    assert_eq!(incident.lost, Some(LossTotals { bytes, entries }));
    assert!(incident.end.is_some());
}

/// The same, with time for the loss to be told before the server tries the dead connection again.
#[test]
fn what_was_lost_long_before_the_failure_is_in_its_account_too() {
    let mut story = Story::new();
    story.requested(20);
    unacknowledged(&mut story, 1, 20);
    let closed = (TcpState::CloseWait, TcpState::Close);
    changes(&mut story, 1, closed, tcp(0, 900));
    story.answered(20).after(S).happens(EventKind::Tick);
    assert_eq!(losses(&story).len(), 1);
    story.requested(21).connects(2, 21).after(MS);
    story.gives_up_connecting(2, 21).answered(21);
    story.happens(EventKind::End);
    assert_eq!(story.incidents()[0].lost.map(|lost| lost.entries), Some(1));
}

#[test]
fn what_is_lost_after_its_incident_was_told_is_in_the_account_of_no_other() {
    let mut story = Story::new();
    story.requested(20);
    unacknowledged(&mut story, 1, 20);
    story.sends(bound(1), 20, (EAGAIN, 900), Some(entry(EntryKind::Request)));
    story.after(2 * S);
    server_closes(&mut story, 1);
    story.after(MS).logs(2, 20, EntryKind::Request).answered(20);
    story.after(S).happens(EventKind::Tick);
    story
        .requested(21)
        .connects(3, 21)
        .after(MS)
        .gives_up_connecting(3, 21);
    let given_up = (TcpState::FinWait1, TcpState::Close);
    changes(&mut story, 1, given_up, tcp(0, 901));
    story
        .answered(21)
        .after(S)
        .happens(EventKind::Tick)
        .happens(EventKind::End);
    let lost: Vec<_> = story.incidents().iter().map(|i| i.lost).collect();
    assert_eq!(lost, [None, Some(LossTotals::default())]);
    assert_eq!(losses(&story)[0].entries, 1);
}

fn datagrams() -> Socket {
    Socket {
        transport: Transport::Udp,
        ..log_socket(1)
    }
}

#[test]
fn of_datagrams_and_unix_sockets_nobody_knows_what_was_lost() {
    let unix = Socket {
        transport: Transport::Unix,
        remote: None,
        path: Some("/run/log.sock".to_owned()),
        ..log_socket(1)
    };
    for socket in [datagrams(), unix] {
        let mut story = Story::new();
        story.requested(20);
        let request = Some(entry(EntryKind::Request));
        story.sends(socket, 20, (ECONNREFUSED, 900), request);
        story.answered(20).happens(EventKind::End);
        assert_eq!(story.incidents()[0].lost, None);
    }
}

#[test]
fn without_tcps_view_nobody_knows_what_was_lost() {
    let mut story = Story::new();
    story.requested(20).logs(1, 20, EntryKind::Request);
    let response = Some(entry(EntryKind::Response));
    story.sends(log_socket(1), 20, (EPIPE, 900), response);
    story.answered(20).happens(EventKind::End);
    assert_eq!(story.incidents()[0].lost, None);
}

fn sends_datagram(story: &mut Story, result: i64) {
    let request = Some(entry(EntryKind::Request));
    story.sends(datagrams(), 20, (result, 900), request);
}

/// Each refusal is told to the next datagram; the one after is sent, and nobody knows where to.
#[test]
fn a_dead_udp_port_is_one_incident() {
    let mut story = Story::new();
    story.requested(20);
    for _ in 0..6 {
        sends_datagram(&mut story, 900);
        story.after(S / 2);
        sends_datagram(&mut story, ECONNREFUSED);
    }
    story
        .answered(20)
        .after(S)
        .happens(EventKind::Tick)
        .happens(EventKind::End);
    let [incident] = story.incidents()[..] else {
        panic!("{:?}", story.findings);
    };
    assert_eq!(incident.end, None, "nothing shows that it works again");
}

#[test]
fn a_udp_port_that_refuses_no_more_has_worked_since_the_first_datagram() {
    let mut story = Story::new();
    story.requested(20);
    sends_datagram(&mut story, ECONNREFUSED);
    story.after(S);
    let first = story.now;
    for _ in 0..3 {
        sends_datagram(&mut story, 900);
        story.after(S);
    }
    story.answered(20).happens(EventKind::Tick);
    assert_eq!(story.incidents()[0].end, Some(first));
}

#[test]
fn a_device_that_takes_no_large_entries_has_worked_since_the_first_that_it_took() {
    let mut story = Story::new();
    story.requested(20);
    sends_datagram(&mut story, EMSGSIZE);
    story.after(MS);
    let next = story.now;
    for _ in 0..3 {
        sends_datagram(&mut story, 900);
        story.after(S);
    }
    story.answered(20).happens(EventKind::Tick);
    assert_eq!(story.incidents()[0].end, Some(next));
}

/// So many that an order by chance would show.
#[test]
fn equal_losses_come_in_the_order_of_their_connections() {
    let mut story = Story::new();
    story.requested(20);
    for number in 1..=9 {
        unacknowledged(&mut story, number, 20);
        server_closes(&mut story, number);
    }
    story.happens(EventKind::End);
    let ids: Vec<_> = losses(&story)
        .iter()
        .map(|l| l.requests[0].as_str())
        .collect();
    let expected: Vec<_> = (1..=9).map(|number| format!("id-{number}")).collect();
    assert_eq!(ids, expected);
}

#[test]
fn what_the_send_queue_holds_at_the_end_is_what_is_pending() {
    let mut story = Story::new();
    story.requested(20);
    for number in 1..=3 {
        unacknowledged(&mut story, number, 20);
        server_closes(&mut story, number);
    }
    let queue = |number, bytes| SendQueue {
        local: local(number),
        remote: LOG.parse().expect("an address"),
        bytes,
    };
    story.after(S).happens(EventKind::SendQueues {
        // The first is delivered but for its FIN, of the second 400 bytes are missing, of the third nothing is known.
        queues: vec![queue(1, 1), queue(2, 401)],
    });
    story.happens(EventKind::End);
    let told: Vec<_> = losses(&story).iter().map(|l| (l.bytes, l.as_of)).collect();
    assert_eq!(told, [(400, story.now), (900, story.now - S)]);
    let sentences: Vec<_> = losses(&story).iter().map(|l| explain::loss(l)).collect();
    assert!(
        sentences[0].contains("when the trace ended. The server"),
        "{}",
        sentences[0]
    );
    assert!(
        sentences[1].contains("when the server closed"),
        "{}",
        sentences[1]
    );
}

/// Only the acknowledgements may have been lost: the log may well have the entries.
#[test]
fn what_was_not_acknowledged_is_not_said_to_be_missing() {
    for incoming in [true, false] {
        let mut story = Story::new();
        story.requested(20);
        unacknowledged(&mut story, 1, 20);
        story.happens(EventKind::Drop {
            socket: bound(1),
            reason: "NETFILTER_DROP".to_owned(),
            incoming,
            beyond: false,
        });
        server_closes(&mut story, 1);
        let given_up = (TcpState::FinWait1, TcpState::Close);
        changes(&mut story, 1, given_up, tcp(0, 901));
        story.happens(EventKind::Tick);
        let sentence = explain::loss(losses(&story)[0]);
        assert!(sentence.contains("never acknowledged"), "{sentence}");
        assert!(!sentence.contains("missing"), "{sentence}");
        assert_eq!(
            sentence.contains("may have arrived"),
            incoming,
            "{sentence}"
        );
    }
}

/// A wait shorter than the threshold begins no incident, and may yet be the beginning of a hang.
#[test]
fn a_hang_is_in_the_account_of_the_incident_that_began_within_it() {
    let mut story = Story::new();
    let waits = |story: &mut Story, number, kind| {
        story.sends(log_socket(number), 20, (EAGAIN, 900), Some(entry(kind)));
    };
    story.requested(20);
    waits(&mut story, 1, EntryKind::Request);
    story
        .after(30 * MS)
        .sends(log_socket(1), 20, (900, 900), None);
    story.after(MS);
    waits(&mut story, 1, EntryKind::Response);
    story.after(2 * S).gives_up_writing(1, 20);
    story
        .logs(2, 20, EntryKind::Response)
        .answered(20)
        .after(S)
        .happens(EventKind::Tick);
    let told: Vec<_> = story
        .incidents()
        .iter()
        .map(|i| (i.hangs, i.blocked))
        .collect();
    assert_eq!(told, [(1, 2 * S + 30 * MS)]);
}

/// Data is under way after nearly every write, so what was acknowledged since ends the silence that began then.
#[test]
fn a_peer_that_has_acknowledged_what_was_sent_last_was_not_silent() {
    for (una, is_silent) in [(0, true), (900, false)] {
        let mut story = Story::new();
        story.requested(20);
        unacknowledged(&mut story, 1, 20);
        let since = story.now;
        story.after(600 * S).happens(EventKind::Send {
            socket: bound(1),
            by: goroutine(20),
            result: 2000,
            requested: Some(5000),
            entry: Some(entry(EntryKind::Response)),
            tcp: Some(tcp(una, 2900)),
            status: None,
        });
        story.after(2 * S);
        let change = (TcpState::Established, TcpState::FinWait1);
        changes(&mut story, 1, change, tcp(una, 2900));
        story.answered(20).nothing_is_found();
        let [hang] = story.hangs()[..] else {
            panic!("{:?}", story.findings);
        };
        let silent = hang.stalls[0].evidence.silent_since;
        assert_eq!(silent, is_silent.then_some(since), "{una}");
        let sentence = explain::hang(hang);
        let is_told = sentence.contains("Nothing had been acknowledged for 600.00 s");
        assert_eq!(is_told, is_silent, "{sentence}");
    }
}

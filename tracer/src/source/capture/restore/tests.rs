//! Which buffered events the core gets.

use tracer_model::{Actor, EntryHead, Socket, SocketId, Transport};

use super::*;

const S: Nanos = 1_000_000_000;

fn socket(slot: u16, accepted: bool) -> Socket {
    Socket {
        id: SocketId { born: 1, slot },
        fd: None,
        accepted,
        transport: Transport::Tcp,
        local: None,
        remote: None,
        path: None,
    }
}

fn by(goid: u64) -> Actor {
    Actor {
        goid: Some(goid),
        ..Actor::default()
    }
}

fn received(at: Nanos, goid: u64) -> BufferedEvent {
    let what = EventKind::Receive {
        socket: socket(1, true),
        by: by(goid),
        bytes: 100,
        handshake: false,
    };
    BufferedEvent {
        event: Event { at, what },
        was_sent: false,
        was_answered: false,
    }
}

fn send(at: Nanos, goid: u64, entry: Option<EntryKind>) -> Event {
    let what = EventKind::Send {
        socket: socket(2, entry.is_none()),
        by: by(goid),
        result: 100,
        requested: Some(100),
        entry: entry.map(|kind| EntryHead {
            kind: Some(kind),
            ..EntryHead::default()
        }),
        tcp: None,
        status: None,
    };
    Event { at, what }
}

fn sent(at: Nanos, goid: u64) -> BufferedEvent {
    BufferedEvent {
        event: send(at, goid, None),
        was_sent: false,
        was_answered: false,
    }
}

fn connection(received: BufferedEvent, sent: Option<BufferedEvent>) -> BufferedConnection {
    BufferedConnection {
        received: Some(received),
        sent,
    }
}

fn times(events: &[Event]) -> Vec<Nanos> {
    events.iter().map(|event| event.at).collect()
}

fn is_write_only(event: &Event) -> bool {
    matches!(event.what, EventKind::BufferedWrite { .. })
}

#[test]
fn a_request_without_an_answer_is_restored_and_an_answered_one_is_not() {
    let connections = vec![
        connection(received(30, 7), Some(sent(20, 7))),
        connection(received(10, 8), Some(sent(20, 8))),
        connection(received(40, 9), None),
    ];
    let restored = restore(connections, Vec::new(), (0, 100));
    assert_eq!(times(&restored.events), [30, 40]);
    assert!(restored.shared.is_empty());
}

#[test]
fn what_was_sent_to_the_agent_before_is_not_restored() {
    let old = BufferedEvent {
        was_sent: true,
        ..received(30, 7)
    };
    let restore_since = |since| {
        let connections = vec![connection(old.clone(), None)];
        times(&restore(connections, Vec::new(), (since, 100)).events)
    };
    assert!(restore_since(20).is_empty());
    assert_eq!(
        restore_since(40),
        [30],
        "the core was told before buffering began, and has forgotten"
    );
}

/// The core gets its answer among what was streamed then, but in no later quiet time.
#[test]
fn a_request_that_was_answered_while_the_buffers_were_frozen_is_restored_once() {
    let answered = BufferedEvent {
        was_answered: true,
        ..received(30, 7)
    };
    let restore_since = |since| {
        let connections = vec![connection(answered.clone(), Some(sent(20, 7)))];
        times(&restore(connections, Vec::new(), (since, 100)).events)
    };
    assert_eq!(restore_since(0), [30]);
    assert!(restore_since(40).is_empty());
}

#[test]
fn entries_of_answered_requests_count_for_their_connection_only() {
    let connections = vec![connection(received(30, 7), Some(sent(40, 7)))];
    let entries = vec![
        send(35, 7, Some(EntryKind::Response)),
        send(45, 7, Some(EntryKind::Request)),
    ];
    let restored = restore(connections, entries, (0, 100));
    let [over, under_way] = restored.events.as_slice() else {
        panic!("{restored:?}");
    };
    assert!(is_write_only(over) && !is_write_only(under_way));
}

#[test]
fn an_entry_of_an_unknown_goroutine_is_over_a_while_after_its_response() {
    let entries = vec![
        send(S, 7, Some(EntryKind::Response)),
        send(S, 8, Some(EntryKind::Request)),
        send(3 * S, 9, Some(EntryKind::Response)),
    ];
    let restored = restore(Vec::new(), entries, (0, 3 * S));
    let over: Vec<_> = restored.events.iter().map(is_write_only).collect();
    assert_eq!(over, [true, false, false]);
}

#[test]
fn a_connection_whose_frames_others_write_comes_first() {
    let connections = vec![connection(received(30, 7), Some(sent(40, 8)))];
    let restored = restore(connections, Vec::new(), (0, 100));
    assert_eq!(times(&restored.shared), [40, 30]);
    assert!(restored.events.is_empty());
}

#[test]
fn a_background_reader_is_served_by_its_parent() {
    let mut request = received(30, 9);
    if let EventKind::Receive { by, .. } = &mut request.event.what {
        by.parent = Some(7);
    }
    let connection = connection(request, Some(sent(20, 7)));
    assert_eq!(connection.server(), Some(7));
}

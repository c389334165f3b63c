//! Learning, and the table of classes.

use tracer_model::{Actor, EntryHead, Transport};

use super::*;

const S: Nanos = 1_000_000_000;
const EAGAIN: i64 = -11;
const EPIPE: i64 = -32;

fn socket(slot: u16, port: u16) -> Socket {
    Socket {
        id: SocketId {
            born: u64::from(slot),
            slot,
        },
        fd: None,
        accepted: false,
        transport: Transport::Tcp,
        local: None,
        remote: Some(([10, 77, 0, 2], port).into()),
        path: None,
    }
}

fn send(socket: &Socket, at: Nanos, result: i64, has_entry: bool) -> Event {
    Event {
        at,
        what: EventKind::Send {
            socket: socket.clone(),
            by: Actor::default(),
            result,
            requested: Some(100),
            entry: has_entry.then(EntryHead::default),
            tcp: None,
            status: None,
        },
    }
}

fn state(socket: &Socket, at: Nanos, old: TcpState, new: TcpState) -> Event {
    Event {
        at,
        what: EventKind::State {
            socket: socket.clone(),
            by: None,
            old,
            new,
            errno: 0,
            tcp: None,
        },
    }
}

/// The programs are to know that an audit device is at this port.
fn leads_to(port: u16) -> News {
    News::Destination(
        (Transport::Tcp, ([10, 77, 0, 2], port).into()),
        Role::Device,
    )
}

fn other(socket: &Socket, of: impl FnOnce(Socket) -> EventKind) -> Event {
    Event {
        at: 5 * S,
        what: of(socket.clone()),
    }
}

/// One audit socket (slot 1), one other socket (slot 2), both known for long.
fn learned() -> (SocketRoles, Socket, Socket) {
    let (audit, storage) = (socket(1, 1515), socket(2, 8500));
    let mut roles = SocketRoles::default();
    roles.observe(&send(&audit, S, 100, true), false, S);
    for _ in 0..SENDS_WITHOUT_ENTRY {
        roles.observe(&send(&storage, S, 100, false), false, S);
    }
    (roles, audit, storage)
}

#[test]
fn events_are_classified_while_buffering() {
    use TcpState::{Close, Established, FinWait1, SynSent};
    let (roles, audit, storage) = learned();
    let unknown = socket(3, 1516);
    let client = Socket {
        accepted: true,
        ..socket(4, 50_000)
    };
    let at = 5 * S;
    let failed = |socket| EventKind::ConnectFailed {
        socket,
        by: Actor::default(),
        errno: 101,
    };
    let table = [
        // The programs buffer complete writes: one that they send has a peer that acknowledges nothing.
        (send(&audit, at, 100, true), Class::Failure),
        (send(&audit, at, 40, true), Class::Blocked(audit.id)),
        (send(&audit, at, EAGAIN, false), Class::Blocked(audit.id)),
        (send(&audit, at, EPIPE, true), Class::Failure),
        (send(&unknown, at, 100, false), Class::Progress(unknown.id)),
        (send(&unknown, at, 40, false), Class::Blocked(unknown.id)),
        (send(&unknown, at, EPIPE, false), Class::Failure),
        (send(&storage, at, EPIPE, false), Class::Normal),
        (send(&client, at, EPIPE, false), Class::Normal),
        (state(&audit, at, Close, SynSent), Class::Blocked(audit.id)),
        (
            state(&audit, at, SynSent, Established),
            Class::Progress(audit.id),
        ),
        (state(&audit, at, SynSent, Close), Class::Failure),
        (state(&audit, at, Established, FinWait1), Class::Failure),
        (state(&storage, at, Established, FinWait1), Class::Normal),
        (state(&client, at, Established, FinWait1), Class::Normal),
        // Another socket to where a known one leads.
        (state(&socket(5, 8500), at, SynSent, Close), Class::Normal),
        (other(&audit, failed), Class::Failure),
        (other(&storage, failed), Class::Normal),
        (
            other(&audit, |socket| EventKind::Retransmit { socket }),
            Class::Anomaly,
        ),
        (
            other(&storage, |socket| EventKind::Retransmit { socket }),
            Class::Normal,
        ),
        (
            other(&client, |socket| EventKind::Reset { socket }),
            Class::Normal,
        ),
        (
            Event {
                at,
                what: EventKind::Tick,
            },
            Class::Normal,
        ),
    ];
    for (event, class) in table {
        assert_eq!(roles.classify(&event, true), class, "{event:?}");
    }
}

#[test]
fn a_complete_write_is_progress_while_streaming() {
    let (roles, audit, _) = learned();
    let event = send(&audit, 5 * S, 100, true);
    assert_eq!(roles.classify(&event, false), Class::Progress(audit.id));
}

#[test]
fn a_write_before_the_programs_knew_the_role_is_progress() {
    let mut roles = SocketRoles::default();
    let audit = socket(1, 1515);
    let (class, news) = roles.observe(&send(&audit, S, 100, true), true, S + 1);
    assert_eq!(class, Class::Progress(audit.id));
    assert_eq!(news, [leads_to(1515), News::Socket(audit.id, Role::Audit)]);
    let (class, news) = roles.observe(&send(&audit, S + 1, 100, true), true, S + 2);
    assert_eq!((class, news), (Class::Progress(audit.id), Vec::new()));
    let (class, _) = roles.observe(&send(&audit, S + 2, 100, true), true, S + 3);
    assert_eq!(class, Class::Failure);
}

#[test]
fn the_write_after_a_short_one_is_progress() {
    let (mut roles, audit, _) = learned();
    let mut observe = |result| roles.observe(&send(&audit, 5 * S, result, true), true, S).0;
    assert_eq!(observe(40), Class::Blocked(audit.id));
    assert_eq!(observe(100), Class::Progress(audit.id));
    assert_eq!(observe(100), Class::Failure);
}

#[test]
fn a_socket_without_entries_becomes_other_and_so_do_its_successors() {
    let mut roles = SocketRoles::default();
    let storage = socket(2, 8500);
    let learn = |roles: &mut SocketRoles, event: Event| roles.observe(&event, false, S).1;
    for _ in 1..SENDS_WITHOUT_ENTRY {
        assert_eq!(learn(&mut roles, send(&storage, S, 100, false)), []);
    }
    let news = learn(&mut roles, send(&storage, S, 100, false));
    let remote = storage.remote.expect("an address");
    let of_all = |role| News::Destination((Transport::Tcp, remote), role);
    assert_eq!(news, [of_all(Role::Other)]);
    let next = socket(3, 8500);
    let dial = state(&next, S, TcpState::Close, TcpState::SynSent);
    assert_eq!(
        learn(&mut roles, dial),
        [News::Socket(next.id, Role::Other)]
    );
    // An entry shows that it was a mistake.
    let news = learn(&mut roles, send(&next, S, 100, true));
    assert_eq!(news[0], of_all(Role::Device));
    assert_eq!(news.last(), Some(&News::Socket(next.id, Role::Audit)));
    assert!(news.contains(&News::Socket(storage.id, Role::Unknown)));
    let third = socket(4, 8500);
    let dial = state(&third, S, TcpState::Close, TcpState::SynSent);
    assert_eq!(learn(&mut roles, dial), []);
}

/// Logins that dial another server, each with a few sends: Kubernetes authentication, LDAP.
#[test]
fn where_connections_lead_is_remembered_across_sockets() {
    const SENDS: u32 = 3;
    let mut roles = SocketRoles::default();
    let login = |roles: &mut SocketRoles, slot: u16| {
        let to = socket(slot, 636);
        let dial = state(&to, S, TcpState::Close, TcpState::SynSent);
        let sends = (0..SENDS).map(|_| send(&to, S, 100, false));
        let close = state(&to, S, TcpState::Established, TcpState::FinWait1);
        let all = std::iter::once(dial).chain(sends).chain([close]);
        let classes = all.map(|event| roles.observe(&event, true, S).0);
        classes.collect::<Vec<_>>()
    };
    let is_normal = |classes: Vec<Class>| classes.iter().all(|class| *class == Class::Normal);
    assert!(!is_normal(login(&mut roles, 10)), "nothing is known of it");
    for slot in 11..=13 {
        login(&mut roles, slot);
    }
    for slot in 14..100 {
        assert!(is_normal(login(&mut roles, slot)), "{slot}");
    }
    // An audit device whose entries cannot be read, since it uses TLS, is none of these.
    let mut roles = SocketRoles::default();
    roles.audit(Device::of(&socket(1, 636)));
    for slot in 10..50 {
        assert!(!is_normal(login(&mut roles, slot)), "{slot}");
    }
}

/// The programs recognize the next connection's entries by how their requests begin.
#[test]
fn how_a_request_with_an_entry_begins_is_passed_on() {
    let mut roles = SocketRoles::default();
    let audit = socket(1, 1517);
    let mut entry = send(&audit, S, 100, true);
    let EventKind::Send {
        entry: Some(head), ..
    } = &mut entry.what
    else {
        panic!("{entry:?}");
    };
    head.request_hash = Some(7);
    let (_, news) = roles.observe(&entry, true, S);
    let remote = audit.remote.expect("an address");
    let expected = [
        leads_to(1517),
        News::Socket(audit.id, Role::Audit),
        News::EntryRequest(remote, 7),
    ];
    assert_eq!(news, expected);
    assert_eq!(roles.observe(&entry, true, S).1, []);
    // Of a device of its own each connection is recognized by its first entry.
    let second = socket(2, 1515);
    let (_, news) = roles.observe(&send(&second, S, 100, true), true, S);
    let expected = [leads_to(1515), News::Socket(second.id, Role::Audit)];
    assert_eq!(news, expected);
    // A rejection on a connection of which nothing was sent here.
    for (port, expected) in [(1517, Class::Failure), (1518, Class::Anomaly)] {
        let rejected = other(&socket(3, port), |socket| EventKind::Rejected {
            socket,
            status: 503,
        });
        assert_eq!(roles.classify(&rejected, true), expected, "{port}");
    }
}

/// Idle connections of an HTTP device come and go; what leaves data behind is a failure.
#[test]
fn a_connection_that_owes_nothing_may_close() {
    use TcpState::{Close, CloseWait, Established, FinWait1, FinWait2, LastAck, SynSent, TimeWait};
    let (roles, audit, _) = learned();
    for (old, new, outstanding, errno, expected) in [
        (Established, CloseWait, 0, 0, Class::Progress(audit.id)),
        (CloseWait, LastAck, 0, 0, Class::Progress(audit.id)),
        (LastAck, Close, 1, 0, Class::Progress(audit.id)),
        (Established, FinWait1, 0, 0, Class::Progress(audit.id)),
        (FinWait1, FinWait2, 0, 0, Class::Progress(audit.id)),
        (TimeWait, Close, 0, 0, Class::Progress(audit.id)),
        (Established, FinWait1, 1, 0, Class::Failure),
        (CloseWait, LastAck, 5000, 0, Class::Failure),
        (FinWait1, Close, 2, 0, Class::Failure),
        (Established, Close, 0, 104, Class::Failure),
        (SynSent, Close, 0, 0, Class::Failure),
        (SynSent, Close, 1, 0, Class::Failure),
    ] {
        let event = ends(&audit, (old, new), (errno, outstanding));
        assert_eq!(roles.classify(&event, true), expected, "{event:?}");
    }
}

/// A change of state with this error, and so much that is not acknowledged.
fn ends(socket: &Socket, (old, new): (TcpState, TcpState), rest: (i32, u32)) -> Event {
    let mut event = state(socket, 5 * S, old, new);
    let end = u32::MAX.wrapping_add(rest.1);
    if let EventKind::State { errno, tcp, .. } = &mut event.what {
        *errno = rest.0;
        *tcp = Some(Tcp {
            una: u32::MAX,
            nxt: end,
            end,
            ..Default::default()
        });
    }
    event
}

/// Who closes a connection with TLS says so to its peer, which may have closed it for good and answers by a RST.
#[test]
fn the_farewell_of_tls_is_no_failure() {
    use TcpState::{Close, CloseWait, Established, LastAck};
    const CLOSE_NOTIFY: u32 = 24;
    for (is_audit, has_entry, expected) in [
        (true, false, Class::Normal),
        (true, true, Class::Anomaly),
        // Nobody knows what that is.
        (false, false, Class::Anomaly),
    ] {
        let mut roles = SocketRoles::default();
        let to = socket(7, 443);
        if is_audit {
            roles.audit(Device::of(&to));
        }
        roles.observe(&send(&to, S, 100, has_entry), false, S);
        let mut class = |event: &Event| roles.observe(event, false, S).0;
        class(&ends(&to, (Established, CloseWait), (0, 0)));
        class(&ends(&to, (CloseWait, LastAck), (0, CLOSE_NOTIFY)));
        let reset = other(&to, |socket| EventKind::Reset { socket });
        assert_eq!(class(&reset), expected, "{is_audit} {has_entry}");
        let end = ends(&to, (LastAck, Close), (104, CLOSE_NOTIFY + 1));
        let is_well = class(&end) == Class::Progress(to.id);
        assert_eq!(is_well, expected == Class::Normal);
        let error = other(&to, |socket| EventKind::SocketError {
            socket,
            errno: 32,
            soft: 0,
        });
        assert_eq!(class(&error), expected, "{is_audit} {has_entry}");
    }
    // A RST in the middle of it is another matter.
    let mut roles = SocketRoles::default();
    let to = socket(7, 443);
    roles.audit(Device::of(&to));
    roles.observe(&send(&to, S, 100, false), false, S);
    let reset = other(&to, |socket| EventKind::Reset { socket });
    assert_eq!(roles.observe(&reset, false, S).0, Class::Anomaly);
    let end = ends(&to, (Established, Close), (104, 0));
    assert_eq!(roles.observe(&end, false, S).0, Class::Failure);
}

#[test]
fn sends_without_entries_to_an_audit_device_make_no_other_socket() {
    let (mut roles, _, _) = learned();
    let second = socket(6, 1515);
    for _ in 0..2 * SENDS_WITHOUT_ENTRY {
        let (_, news) = roles.observe(&send(&second, S, 100, false), false, S);
        assert_eq!(news, []);
    }
}

#[test]
fn a_closed_socket_is_forgotten() {
    let (mut roles, audit, _) = learned();
    roles.observe(
        &state(&audit, S, TcpState::FinWait1, TcpState::Close),
        true,
        S,
    );
    let (class, news) = roles.observe(&send(&audit, 5 * S, 100, true), true, 6 * S);
    assert_eq!(class, Class::Progress(audit.id));
    assert_eq!(news, [News::Socket(audit.id, Role::Audit)]);
}

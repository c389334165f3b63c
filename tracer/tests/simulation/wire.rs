//! What the tracer sees of the simulated server: its goroutines, sockets and entries.

use std::net::SocketAddr;

use tracer_model::{
    Actor, Device, EntryHead, EventKind, GoroutineSample, Session, Socket, SocketId, TcpState,
    Transport, WaitReason,
};

use super::{
    Plan,
    server::{BEGAN, Served, Server},
};

pub(crate) const WHOLE: i64 = 900;
pub(crate) const EAGAIN: i64 = -11;

/// The goroutine that accepts connections.
const LISTENER: u64 = 1;
/// HTTP/2: streams for each connection.
const STREAMS: usize = 4;

pub(crate) fn session(plan: &Plan) -> Session {
    let declared = plan.is_declared || !plan.stacks;
    let devices = (0..plan.devices.len()).filter(|_| declared).map(device);
    Session {
        began: BEGAN,
        threshold: super::THRESHOLD,
        stacks: plan.stacks,
        declared: devices.collect(),
        ..Session::default()
    }
}

fn host(device: usize) -> SocketAddr {
    SocketAddr::from(([10, 77, 0, 2 + device as u8], 1515))
}

pub(crate) fn device(number: usize) -> Device {
    Device::tcp(host(number))
}

fn connection(plan: &Plan, client: usize) -> usize {
    if plan.http2 { client / STREAMS } else { client }
}

/// The client's end of its connection.
pub(crate) fn client(plan: &Plan, client: usize) -> SocketAddr {
    let port = 50_000 + connection(plan, client) as u16;
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn socket(born: u64, accepted: bool, remote: SocketAddr) -> Socket {
    Socket {
        id: SocketId { born, slot: 0 },
        fd: None,
        accepted,
        transport: Transport::Tcp,
        local: None,
        remote: Some(remote),
        path: None,
    }
}

fn client_socket(plan: &Plan, number: usize) -> Socket {
    let remote = client(plan, number);
    socket(u64::from(remote.port()), true, remote)
}

fn audit_socket(device: usize) -> Socket {
    socket(1 + device as u64, false, host(device))
}

fn actor(goid: u64, parent: u64) -> Actor {
    Actor {
        tid: 7,
        goid: Some(goid),
        parent: Some(parent),
    }
}

/// The goroutine of a connection; of HTTP/2, its children read and write frames.
fn server_of(plan: &Plan, client: usize) -> u64 {
    1000 * (1 + connection(plan, client) as u64)
}

fn child(plan: &Plan, client: usize, number: u64) -> Actor {
    let server = server_of(plan, client);
    actor(server + number, server)
}

/// The goroutine that works on a request.
fn handler(plan: &Plan, served: &Served) -> Actor {
    if plan.http2 {
        child(plan, served.client, 10 + served.number as u64)
    } else {
        actor(server_of(plan, served.client), LISTENER)
    }
}

/// Which goroutine did it.
pub(crate) fn doer(what: &EventKind) -> Option<u64> {
    match what {
        EventKind::Send { by, .. } | EventKind::Receive { by, .. } => by.goid,
        EventKind::State { by, .. } => by.as_ref()?.goid,
        _ => None,
    }
}

/// Whose wait for a device it ends, if it does.
pub(crate) fn ends_wait_of(what: &EventKind) -> Option<u64> {
    let ends = match what {
        EventKind::Send { socket, result, .. } => !socket.accepted && *result > 0,
        EventKind::State { socket, new, .. } => !socket.accepted && *new == TcpState::Close,
        _ => false,
    };
    doer(what).filter(|_| ends)
}

/// The goroutine of a request.
pub(crate) fn goid(plan: &Plan, served: &Served) -> u64 {
    handler(plan, served).goid.expect("a goroutine")
}

fn received(socket: Socket, by: Actor, bytes: u64) -> EventKind {
    EventKind::Receive {
        socket,
        by,
        bytes,
        handshake: false,
    }
}

fn sent(socket: Socket, by: Actor, result: i64, entry: Option<EntryHead>) -> EventKind {
    EventKind::Send {
        socket,
        by,
        result,
        requested: Some(WHOLE as u64),
        entry,
        tcp: None,
        status: None,
    }
}

/// HTTP/2: what opens a connection, before any request.
pub(crate) fn prefaces(plan: &Plan) -> Vec<EventKind> {
    let firsts = (0..plan.clients).step_by(STREAMS);
    let preface = |client| {
        let socket = || client_socket(plan, client);
        let server = actor(server_of(plan, client), LISTENER);
        [
            received(socket(), server, 24),
            sent(socket(), child(plan, client, 2), WHOLE, None),
            received(socket(), child(plan, client, 1), 40),
            received(socket(), child(plan, client, 1), 40),
        ]
    };
    firsts.filter(|_| plan.http2).flat_map(preface).collect()
}

pub(crate) fn arrival(plan: &Plan, served: &Served) -> EventKind {
    let by = if plan.http2 {
        child(plan, served.client, 1)
    } else {
        handler(plan, served)
    };
    received(client_socket(plan, served.client), by, 100)
}

pub(crate) fn answer(plan: &Plan, served: &Served) -> EventKind {
    let by = if plan.http2 {
        child(plan, served.client, 2)
    } else {
        handler(plan, served)
    };
    sent(client_socket(plan, served.client), by, WHOLE, None)
}

pub(crate) fn name(served: &Served) -> String {
    format!("id-{}", served.number)
}

pub(crate) fn entry(plan: &Plan, served: &Served) -> EntryHead {
    EntryHead {
        kind: Some(served.kind()),
        id: Some(name(served)),
        remote_port: Some(client(plan, served.client).port()),
        ..EntryHead::default()
    }
}

/// A write of the whole entry, or of its rest.
pub(crate) fn writes(plan: &Plan, served: &Served, device: usize, result: i64) -> EventKind {
    let by = handler(plan, served);
    sent(audit_socket(device), by, result, Some(entry(plan, served)))
}

fn state(socket: Socket, by: Actor, (old, new): (TcpState, TcpState)) -> EventKind {
    EventKind::State {
        socket,
        by: Some(by),
        old,
        new,
        errno: 0,
        tcp: None,
    }
}

pub(crate) fn dial(
    plan: &Plan,
    served: &Served,
    (device, number): (usize, u64),
    change: (TcpState, TcpState),
) -> EventKind {
    let socket = socket(number, false, host(device));
    state(socket, handler(plan, served), change)
}

/// Where everybody is at this moment.
pub(crate) fn parked(server: &Server) -> EventKind {
    let plan = &server.plan;
    let waits = server.requests.iter().filter_map(|served| {
        let (place, device, since) = served.place?;
        let by = handler(plan, served);
        let eldest = plan.http2.then_some(LISTENER);
        Some(GoroutineSample {
            goid: by.goid?,
            ancestors: by.parent.into_iter().chain(eldest).collect(),
            request: None,
            place,
            since: Some(since).filter(|_| plan.dates && place == WaitReason::Lock),
            phase: None,
            device: Some(self::device(device)),
            frames: Vec::new(),
            entry: Some(entry(plan, served)),
        })
    });
    EventKind::GoroutinesSampled {
        goroutines: waits.collect(),
        handlers: None,
    }
}

/// Everybody goes.
pub(crate) fn goodbyes(plan: &Plan) -> Vec<EventKind> {
    let closes = |socket: Socket, by: Actor| {
        let change = |old, new| state(socket.clone(), by, (old, new));
        [
            change(TcpState::Established, TcpState::FinWait1),
            change(TcpState::FinWait1, TcpState::Close),
        ]
    };
    let clients = (0..plan.clients).flat_map(|client| {
        let server = actor(server_of(plan, client), LISTENER);
        closes(client_socket(plan, client), server)
    });
    let devices = 0..plan.devices.len();
    clients
        .chain(devices.flat_map(|device| closes(audit_socket(device), actor(99, LISTENER))))
        .collect()
}

//! What the tracer sees of the simulated server: its goroutines, sockets and entries.

use std::net::SocketAddr;

use test_events::{
    BEGAN, LISTENER, THRESHOLD, WHOLE, actor, changed, client_address, client_socket, closed,
    device, device_address, preface, received, sent, socket,
};
use tracer_model::{
    Actor, EntryHead, EventKind, GoroutineSample, Session, Socket, TcpState, WaitReason,
};

use super::{Plan, request::Request};

/// HTTP/2: streams for each connection.
const STREAMS: usize = 4;
/// HTTP/2: the numbers of the children of a connection's goroutine that read and write its frames.
const READER: u64 = 1;
const WRITER: u64 = 2;

pub(crate) fn session(plan: &Plan) -> Session {
    let declared = plan.is_declared || !plan.stacks;
    let devices = (0..plan.devices.len()).filter(|_| declared).map(device);
    Session {
        began: BEGAN,
        threshold: THRESHOLD,
        stacks: plan.stacks,
        declared: devices.collect(),
        ..Session::default()
    }
}

fn connection(plan: &Plan, client: usize) -> usize {
    if plan.http2 { client / STREAMS } else { client }
}

/// The client's end of its connection.
pub fn client(plan: &Plan, client: usize) -> SocketAddr {
    client_address(connection(plan, client))
}

fn audit_socket(device: usize) -> Socket {
    socket(1 + device as u64, false, device_address(device))
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
fn handler(plan: &Plan, served: &Request) -> Actor {
    if plan.http2 {
        child(plan, served.client, 10 + served.number as u64)
    } else {
        actor(server_of(plan, served.client), LISTENER)
    }
}

/// The goroutine that did it.
pub(crate) fn goid_of_event(what: &EventKind) -> Option<u64> {
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
    goid_of_event(what).filter(|_| ends)
}

/// The goroutine of a request.
pub(crate) fn goid(plan: &Plan, served: &Request) -> u64 {
    handler(plan, served).goid.expect("a goroutine")
}

/// HTTP/2: what opens a connection, before any request.
pub(crate) fn prefaces(plan: &Plan) -> Vec<EventKind> {
    let firsts = (0..plan.clients).step_by(STREAMS);
    let preface = |client| {
        let server = server_of(plan, client);
        let socket = client_socket(self::client(plan, client));
        preface(&socket, server, server + READER, server + WRITER)
    };
    firsts.filter(|_| plan.http2).flat_map(preface).collect()
}

pub(crate) fn arrival(plan: &Plan, served: &Request) -> EventKind {
    let by = if plan.http2 {
        child(plan, served.client, READER)
    } else {
        handler(plan, served)
    };
    received(client_socket(client(plan, served.client)), by, 100)
}

pub(crate) fn answer(plan: &Plan, served: &Request) -> EventKind {
    let by = if plan.http2 {
        child(plan, served.client, WRITER)
    } else {
        handler(plan, served)
    };
    sent(client_socket(client(plan, served.client)), by, WHOLE, None)
}

/// The ID of its entries.
pub fn name(served: &Request) -> String {
    format!("id-{}", served.number)
}

pub(crate) fn entry(plan: &Plan, served: &Request) -> EntryHead {
    EntryHead {
        kind: Some(served.kind()),
        id: Some(name(served)),
        remote_port: Some(client(plan, served.client).port()),
        ..EntryHead::default()
    }
}

/// A write of the whole entry, or of its rest.
pub(crate) fn writes(plan: &Plan, served: &Request, device: usize, result: i64) -> EventKind {
    let by = handler(plan, served);
    sent(audit_socket(device), by, result, Some(entry(plan, served)))
}

pub(crate) fn dial(
    plan: &Plan,
    served: &Request,
    (device, number): (usize, u64),
    change: (TcpState, TcpState),
) -> EventKind {
    let socket = socket(number, false, device_address(device));
    changed(socket, handler(plan, served), change)
}

/// What the goroutines wait for at this moment.
pub(crate) fn sample(plan: &Plan, requests: &[Request]) -> EventKind {
    let waits = requests.iter().filter_map(|served| {
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
            device: Some(test_events::device(device)),
            frames: Vec::new(),
            entry: Some(entry(plan, served)),
        })
    });
    EventKind::GoroutinesSampled {
        goroutines: waits.collect(),
        handlers: None,
    }
}

/// All connections are closed.
pub(crate) fn goodbyes(plan: &Plan) -> Vec<EventKind> {
    let clients = (0..plan.clients).flat_map(|client| {
        let server = actor(server_of(plan, client), LISTENER);
        closed(&client_socket(self::client(plan, client)), server)
    });
    let devices = (0..plan.devices.len())
        .flat_map(|device| closed(&audit_socket(device), actor(99, LISTENER)));
    clients.chain(devices).collect()
}

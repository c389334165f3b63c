//! What the tracer sees of the simulated server: its goroutines, sockets and entries.

use std::net::SocketAddr;

use test_events::{
    BEGAN, LISTENER, S, THRESHOLD, WHOLE, actor, changed, client_address, closed, device,
    device_address, preface, received, sent, socket,
};
use tracer_model::{
    Actor, Device, EntryHead, EntryKind, EventKind, GoroutineSample, HandlerSample, Nanos, Phase,
    Session, Socket, TcpState, Transport, WaitReason,
};

use crate::{
    plan::{Listener, Plan, State},
    server::{Request, Server, Worker},
};

/// HTTP/2: requests of so many clients share a connection.
const STREAMS: usize = 3;

pub(crate) fn session(plan: &Plan) -> Session {
    // What no entry was ever written to is no audit device, unless somebody says so.
    let racing = |number: &usize| plan.devices[*number].0 == State::Racing;
    Session {
        began: BEGAN,
        threshold: THRESHOLD,
        stacks: true,
        declared: (0..plan.devices.len()).filter(racing).map(device).collect(),
        ..Session::default()
    }
}

/// The other address of the same name.
fn second_host(device: usize) -> SocketAddr {
    SocketAddr::from(([10, 78, 0, 2 + device as u8], 1515))
}

fn connection(plan: &Plan, client: usize) -> usize {
    match plan.listener {
        Listener::Http2 => client / STREAMS,
        Listener::Http1 | Listener::Unix => client,
    }
}

/// The client's end of its connection; nothing is seen of a Unix socket.
pub(crate) fn client(plan: &Plan, client: usize) -> Option<SocketAddr> {
    let address = client_address(connection(plan, client));
    (plan.listener != Listener::Unix).then_some(address)
}

fn client_socket(plan: &Plan, number: usize) -> Option<Socket> {
    Some(test_events::client_socket(client(plan, number)?))
}

/// The connection to a device that stands when the trace begins, as far as no other was dialled since.
pub(crate) fn standing(device: usize) -> u64 {
    1 + device as u64
}

/// The goroutine of a connection.
pub(crate) fn server_of(plan: &Plan, client: usize) -> u64 {
    1000 + connection(plan, client) as u64
}

/// The goroutine that reads the frames of an HTTP/2 connection.
fn frame_reader(plan: &Plan, client: usize) -> u64 {
    server_of(plan, client) + 500
}

/// What opens the connections of HTTP/2, before any request.
pub(crate) fn prefaces(plan: &Plan) -> Vec<EventKind> {
    let firsts = (0..plan.clients).step_by(STREAMS);
    let preface = |client| {
        let socket = client_socket(plan, client).expect("TCP");
        let (server, reader) = (server_of(plan, client), frame_reader(plan, client));
        preface(&socket, server, reader, server + 501)
    };
    let is_http2 = plan.listener == Listener::Http2;
    firsts.filter(|_| is_http2).flat_map(preface).collect()
}

pub(crate) fn arrival(plan: &Plan, request: &Request) -> Option<EventKind> {
    let by = match plan.listener {
        Listener::Http2 => {
            let server = server_of(plan, request.client);
            actor(frame_reader(plan, request.client), server)
        }
        Listener::Http1 | Listener::Unix => actor(request.goid, LISTENER),
    };
    Some(received(client_socket(plan, request.client)?, by, 100))
}

/// `writer`: the goroutine that writes one frame.
pub(crate) fn answer(plan: &Plan, request: &Request, writer: u64) -> Option<EventKind> {
    let by = match plan.listener {
        Listener::Http2 => actor(writer, server_of(plan, request.client)),
        Listener::Http1 | Listener::Unix => actor(request.goid, LISTENER),
    };
    let socket = client_socket(plan, request.client)?;
    Some(sent(socket, by, WHOLE, None))
}

pub(crate) fn name(request: &Request) -> String {
    format!("id-{}", request.number)
}

/// Since 1970, as an entry has it: the wall clock is `CLOCK_MONOTONIC` here.
fn time(at: Nanos) -> EntryHead {
    let seconds = at / S;
    let clock = [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60].map(|n| format!("{n:02}"));
    let time = format!("1970-01-01T{}.{:09}Z", clock.join(":"), at % S);
    serde_json::from_value(serde_json::json!({ "time": time })).expect("an entry")
}

pub(crate) fn entry(plan: &Plan, request: &Request, stay: usize) -> EntryHead {
    EntryHead {
        kind: Some(if stay == 0 {
            EntryKind::Request
        } else {
            EntryKind::Response
        }),
        id: Some(name(request)),
        remote_port: client(plan, request.client).map(|client| client.port()),
        ..time(request.stays[stay].start)
    }
}

/// Which connection: to which device, whether to the second address of its name, and its number.
pub(crate) type Link = (usize, bool, u64);

fn link_socket((device, is_second, number): Link) -> Socket {
    let remote = if is_second {
        second_host(device)
    } else {
        device_address(device)
    };
    socket(number, false, remote)
}

/// A write of an entry, or of the rest of it.
pub(crate) fn writes(link: Link, by: Actor, result: i64, entry: EntryHead) -> EventKind {
    sent(link_socket(link), by, result, Some(entry))
}

pub(crate) fn changes(link: Link, by: Actor, change: (TcpState, TcpState)) -> EventKind {
    changed(link_socket(link), by, change)
}

/// Where all goroutines are at this moment.
pub(crate) fn sample(server: &Server) -> EventKind {
    let goroutines = server.workers.iter().filter_map(|w| wait_of(server, w));
    let handlers = server.requests.iter().filter_map(|request| {
        let stay = request.stays.len().checked_sub(1)?;
        request.stays[stay].end.is_none().then(|| HandlerSample {
            goid: request.goid,
            ancestors: server.ancestors_of(request),
            phase: Some(phase(stay)),
            entry: server
                .plan
                .has_names
                .then(|| entry(&server.plan, request, stay)),
        })
    });
    EventKind::GoroutinesSampled {
        goroutines: goroutines.collect(),
        handlers: Some(handlers.collect()),
    }
}

fn phase(stay: usize) -> Phase {
    if stay == 0 {
        Phase::Request
    } else {
        Phase::Response
    }
}

fn wait_of(server: &Server, worker: &Worker) -> Option<GoroutineSample> {
    let (place, device, _) = worker.place?;
    let request = &server.requests[worker.request];
    let of_request = server.ancestors_of(request);
    let is_sink = worker.goid != request.goid;
    let sink = [worker.parent, request.goid];
    let line = sink.into_iter().filter(|_| is_sink).chain(of_request);
    let own_child = worker.dialler.filter(|_| place == WaitReason::Connect);
    let parent = own_child.map(|_| worker.goid);
    let is_racing = server.plan.devices[device].0 == State::Racing;
    let name = Device::new(Transport::Tcp, format!("log-{device}.example:1515"));
    Some(GoroutineSample {
        goid: own_child.unwrap_or(worker.goid),
        ancestors: parent.into_iter().chain(line).collect(),
        request: (is_sink || own_child.is_some()).then_some(request.goid),
        place,
        since: None,
        phase: Some(phase(worker.stay)),
        device: server.plan.knows_devices.then(|| {
            if is_racing {
                name
            } else {
                test_events::device(device)
            }
        }),
        frames: Vec::new(),
        entry: server
            .plan
            .has_names
            .then(|| entry(&server.plan, request, worker.stay)),
    })
}

/// All connections are closed; `links`: the connections that stand.
pub(crate) fn goodbyes(plan: &Plan, links: &[Link]) -> Vec<EventKind> {
    let clients = (0..plan.clients).filter_map(|client| {
        let server = actor(server_of(plan, client), LISTENER);
        Some(closed(&client_socket(plan, client)?, server))
    });
    let links = links.iter().copied();
    let devices = links.map(|link| closed(&link_socket(link), actor(99, LISTENER)));
    clients.chain(devices).flatten().collect()
}

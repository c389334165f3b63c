//! Streams of events as a full trace of a busy server has them: every field that the kernel side fills
//! is there, since its cost is part of what is measured.

use std::net::SocketAddr;

use test_events::{BEGAN, LISTENER, MS, THRESHOLD, actor, changed, received};
use tracer_core::{Core, Query};
use tracer_model::{
    Actor, Device, EntryHead, EntryKind, Event, EventKind, GoroutineSample, Nanos, Session, Socket,
    Tcp, TcpState, WaitReason,
};

/// Goroutines that a connection of HTTP/2 has in each of its requests: one for the request, one for its frame.
const PER_STREAM: u64 = 2;
/// Bytes of an entry.
const ENTRY: u32 = 1800;

/// What a server is like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Clients, each with a request under way all the time.
    pub clients: u64,
    /// Audit devices over TCP.
    pub devices: u64,
    /// Requests on one connection at a time; 0 is HTTP/1.1.
    pub streams: u64,
    /// Whether goroutines can be sampled.
    pub stacks: bool,
}

impl Shape {
    /// Two devices, and clients of HTTP/1.1.
    pub const HTTP1: Self = Self {
        clients: 64,
        devices: 2,
        streams: 0,
        stacks: true,
    };
    /// The same of HTTP/2, 8 requests on each connection.
    pub const HTTP2: Self = Self {
        streams: 8,
        ..Self::HTTP1
    };
}

/// A server that answers its clients, whose devices are healthy.
pub struct BusyServer {
    shape: Shape,
    now: Nanos,
    /// Of the next request.
    number: u64,
    /// The next goroutine.
    goids: u64,
    sequence: Vec<u32>,
}

impl BusyServer {
    /// Before its first event.
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            now: BEGAN,
            number: 0,
            goids: 1_000_000,
            sequence: vec![0; shape.devices as usize],
        }
    }

    /// What the trace begins with: the session, and the prefaces of HTTP/2.
    pub fn begin(&mut self) -> Vec<Event> {
        let session = Session {
            began: BEGAN,
            threshold: THRESHOLD,
            stacks: self.shape.stacks,
            declared: (0..self.shape.devices).map(device).collect(),
            ..Session::default()
        };
        let mut events = vec![self.event(EventKind::Session(session))];
        if self.shape.streams > 0 {
            for connection in 0..self.shape.clients.div_ceil(self.shape.streams) {
                let server = server_of(connection);
                for (by, bytes) in [
                    (actor(server, LISTENER), 24),
                    (actor(server + 1, server), 40),
                    (actor(server + 1, server), 40),
                ] {
                    events.push(self.received(connection, by, bytes));
                }
            }
        }
        events
    }

    /// At least so many events: rounds in which each client has one request.
    pub fn events(&mut self, at_least: usize) -> Vec<Event> {
        let mut events = Vec::with_capacity(at_least + at_least / 4);
        while events.len() < at_least {
            self.round(0, self.shape.clients, &mut events);
        }
        events
    }

    /// One request of each of these clients: all arrive, all audit, all are answered.
    pub fn round(&mut self, first: u64, clients: u64, events: &mut Vec<Event>) {
        let begun = self.goids;
        self.goids += clients * PER_STREAM;
        for client in first..first + clients {
            events.push(self.arrives(client));
        }
        for kind in [EntryKind::Request, EntryKind::Response] {
            for client in first..first + clients {
                let by = self.handler(client, begun + (client - first) * PER_STREAM);
                for device in 0..self.shape.devices {
                    events.push(self.audits(client, by, device, kind));
                }
            }
        }
        for client in first..first + clients {
            events.push(self.answers(client, begun + (client - first) * PER_STREAM + 1));
        }
        self.number += clients;
        self.now += 10 * MS;
    }

    /// These clients ask, and no more is heard of it.
    pub fn arrive(&mut self, first: u64, clients: u64) -> Vec<Event> {
        (first..first + clients)
            .map(|client| self.arrives(client))
            .collect()
    }

    /// Nothing happens.
    pub fn pass(&mut self, time: Nanos) {
        self.now += time;
    }

    fn event(&mut self, what: EventKind) -> Event {
        self.now += 2_000;
        Event { at: self.now, what }
    }

    fn connection(&self, client: u64) -> u64 {
        client / self.shape.streams.max(1)
    }

    fn handler(&self, client: u64, goid: u64) -> Actor {
        let server = server_of(self.connection(client));
        if self.shape.streams > 0 {
            actor(goid, server)
        } else {
            actor(server, LISTENER)
        }
    }

    fn arrives(&mut self, client: u64) -> Event {
        let connection = self.connection(client);
        let server = server_of(connection);
        let by = if self.shape.streams > 0 {
            actor(server + 1, server)
        } else {
            actor(server, LISTENER)
        };
        self.received(connection, by, 200)
    }

    fn received(&mut self, connection: u64, by: Actor, bytes: u64) -> Event {
        self.event(received(client_socket(connection), by, bytes))
    }

    fn audits(&mut self, client: u64, by: Actor, device: u64, kind: EntryKind) -> Event {
        let una = self.sequence[device as usize];
        let end = una.wrapping_add(ENTRY);
        self.sequence[device as usize] = end;
        let entry = self.entry(client, kind);
        self.event(EventKind::Send {
            socket: audit_socket(device),
            by,
            result: ENTRY.into(),
            requested: Some(ENTRY.into()),
            entry: Some(entry),
            tcp: Some(Tcp {
                una,
                nxt: end,
                end,
                window: Some(64_000),
                mss: Some(1448),
                queued: Some(4000),
                limit: Some(87_000),
                srtt: Some(300_000),
                rto: Some(200 * MS),
                ack_age: Some(MS),
                timeouts: Some(0),
                probes: Some(0),
                soft_error: 0,
            }),
            status: None,
        })
    }

    fn entry(&self, client: u64, kind: EntryKind) -> EntryHead {
        EntryHead {
            kind: Some(kind),
            time: "2026-11-23T05:57:03.934954324Z".parse().ok(),
            id: Some(format!(
                "aea61dbf-7b2f-4000-8000-{:012x}",
                self.number + client
            )),
            operation: Some("update".to_owned()),
            path: Some("transit/encrypt/payments".to_owned()),
            remote_address: Some("10.77.0.9".to_owned()),
            remote_port: Some(port(self.connection(client))),
            namespace: None,
            over_http: false,
            request_hash: None,
        }
    }

    fn answers(&mut self, client: u64, goid: u64) -> Event {
        let by = self.handler(client, goid);
        let is_http1 = self.shape.streams == 0;
        let socket = client_socket(self.connection(client));
        self.event(EventKind::Send {
            socket,
            by,
            result: 300,
            requested: Some(300),
            entry: None,
            tcp: None,
            status: is_http1.then_some(200),
        })
    }

    /// These HTTP/1.1 clients' requests queue behind one each that dials a device in vain: two dials of
    /// two seconds, with a sample each 100 ms. `clients` of each device. The elements are events and
    /// sampled goroutines.
    pub fn hang(&mut self, clients: u64) -> (Vec<Event>, u64) {
        let all = clients * self.shape.devices;
        let mut events = self.arrive(0, all);
        let mut sampled = 0;
        for attempt in 0..2 {
            self.dial(
                attempt,
                clients,
                (TcpState::Close, TcpState::SynSent),
                &mut events,
            );
            for _ in 0..20 {
                self.now += 100 * MS;
                events.push(self.event(EventKind::Tick));
                if self.shape.stacks {
                    sampled += all;
                    events.push(self.sample(clients));
                }
            }
            self.dial(
                attempt,
                clients,
                (TcpState::SynSent, TcpState::Close),
                &mut events,
            );
        }
        self.now += MS;
        self.round(0, all, &mut events);
        let elements = events.len() as u64 + sampled;
        (events, elements)
    }

    fn dial(
        &mut self,
        attempt: u64,
        clients: u64,
        change: (TcpState, TcpState),
        events: &mut Vec<Event>,
    ) {
        for device in 0..self.shape.devices {
            let by = self.handler(device * clients, 0);
            let mut socket = audit_socket(device);
            socket.id.born = BEGAN - 1 - attempt * 1000 - device;
            events.push(self.event(changed(socket, by, change)));
        }
    }

    fn sample(&mut self, clients: u64) -> Event {
        let all = clients * self.shape.devices;
        let goroutines = (0..all).map(|client| GoroutineSample {
            goid: server_of(client),
            ancestors: vec![LISTENER],
            request: None,
            place: if client.is_multiple_of(clients) {
                WaitReason::Connect
            } else {
                WaitReason::Lock
            },
            since: None,
            phase: None,
            device: Some(device(client / clients)),
            frames: vec!["sync.(*Mutex).Lock".to_owned()],
            entry: Some(self.entry(client, EntryKind::Request)),
        });
        let goroutines = goroutines.collect();
        self.event(EventKind::GoroutinesSampled {
            goroutines,
            handlers: None,
        })
    }
}

/// How often a live trace fetches what is no stall, ns.
const FETCH: Nanos = 50 * MS;

/// Takes the events, and ticks when those are due, as a live trace does. Returns how many findings there were.
pub fn feed(core: &mut Core, events: &[Event]) -> usize {
    let mut findings = 0;
    let mut fetched = 0;
    for event in events {
        if event.at >= fetched + FETCH {
            fetched = event.at;
            if core.due() <= event.at {
                findings += tick(core, event.at);
            }
        }
        findings += core.on(event).findings.len();
    }
    findings
}

/// Nobody's entry is in any file.
fn tick(core: &mut Core, at: Nanos) -> usize {
    let step = core.on(&Event {
        at,
        what: EventKind::Tick,
    });
    let mut findings = step.findings.len();
    for query in step.queries {
        if let Query::Entry(asked) = query {
            let what = EventKind::EntryFound { asked, entry: None };
            findings += core.on(&Event { at, what }).findings.len();
        }
    }
    findings
}

fn address(device: u64) -> SocketAddr {
    SocketAddr::from(([10, 77, 1, device as u8], 1515))
}

fn device(number: u64) -> Device {
    Device::tcp(address(number))
}

/// The goroutine of a connection; of HTTP/2, its child reads frames.
fn server_of(connection: u64) -> u64 {
    100_000 + 2 * connection
}

fn port(connection: u64) -> u16 {
    20_000 + (connection % 40_000) as u16
}

fn socket(born: Nanos, accepted: bool, local: u16, remote: SocketAddr) -> Socket {
    Socket {
        fd: Some(9),
        local: Some(([10, 77, 0, 1], local).into()),
        ..test_events::socket(born, accepted, remote)
    }
}

fn client_socket(connection: u64) -> Socket {
    let peer = ([10, 77, 0, 9], port(connection));
    socket(BEGAN + connection, true, 8200, peer.into())
}

fn audit_socket(number: u64) -> Socket {
    socket(1 + number, false, 40_000, address(number))
}

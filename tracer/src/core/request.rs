//! The client requests that the server works on, and what each did on audit devices.
//!
//! In HTTP/1.1 one goroutine reads a request, audits it, works, audits the answer and writes it
//! (`net/http` `conn.serve`), so what happens on any socket in that goroutine, or in one it started
//! (`net` dials several addresses in parallel), belongs to that request. In HTTP/2 the connection's
//! goroutine starts one for each request (`http2serverConn.runHandler`); nothing it does itself
//! shows where the request begins and ends.

use std::{collections::HashMap, net::SocketAddr};

use super::{
    operation::{Operation, Outcome},
    parked::{Look, Silence},
};
use crate::{
    audit::entry::EntryHead,
    event::{Actor, Device, Event, Nanos, Socket, SocketId, TcpState, What},
};

/// A request whose end cannot be seen is over when nothing was seen of it for so long, ns. Longer
/// than the 2 s that one stall of the next phase may take to begin.
const IDLE: Nanos = 3_000_000_000;

/// A request that was seen to begin but never answered is given up after so long, ns: clients wait
/// 60 s by default, and the server works on after they left.
const ABANDONED: Nanos = 300_000_000_000;

/// What ties a stall to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// The goroutine that reads and answers the request did it.
    Goroutine,
    /// A goroutine did it that was started by the one serving the client's connection.
    Lineage,
    /// The entry that was being written says so; nothing is known of a client.
    Payload,
    /// It never reached the device itself: its goroutine was seen waiting for the device's lock.
    Queued,
}

impl Tie {
    /// As the trace spells it.
    pub fn name(self) -> &'static str {
        match self {
            Tie::Goroutine => "goroutine",
            Tie::Lineage => "lineage",
            Tie::Payload => "payload",
            Tie::Queued => "queued",
        }
    }
}

/// A client's request, or as much as is known of what may be one.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What it did on audit devices, in the order in which that ended.
    pub operations: Vec<Operation>,
    /// The client's end of its connection.
    pub client: Option<SocketAddr>,
    /// What ties the operations to it.
    pub tie: Option<Tie>,
    /// Its first sign of life.
    pub start: Nanos,
    /// When it was answered, else its last sign of life.
    pub end: Nanos,
    /// Whether both its beginning and its answer were seen.
    pub whole: bool,
    /// Whether it came over a connection that carries several requests at once.
    pub multiplexed: bool,
    /// Its goroutine.
    pub goid: Option<u64>,
    /// HTTP status of its answer, where it could be read.
    pub status: Option<u16>,
    /// How many operations wait now.
    waiting: u32,
    /// What its goroutine was seen waiting for since it last acted.
    silence: Silence,
}

impl Request {
    fn new(at: Nanos, goid: u64) -> Self {
        Self {
            operations: Vec::new(),
            client: None,
            tie: None,
            start: at,
            end: at,
            whole: false,
            multiplexed: false,
            goid: (goid != 0).then_some(goid),
            status: None,
            waiting: 0,
            silence: Silence::default(),
        }
    }

    /// What its own entries said of it, most knowing first.
    pub fn entry(&self) -> Option<&EntryHead> {
        let entries = || self.operations.iter().filter_map(|o| o.entry.as_ref());
        entries()
            .find(|e| e.id.is_some())
            .or_else(|| entries().next())
    }

    fn actor(&self) -> Actor {
        Actor {
            goid: self.goid,
            ..Actor::default()
        }
    }

    /// Its goroutine acts again: what its silence was is known now.
    fn acts(&mut self, at: Nanos, outcome: Option<Outcome>) {
        let waited = self.silence.end(self.actor(), (self.end, at), outcome);
        if !waited.is_empty() {
            self.end = self.end.max(at);
        }
        self.operations.extend(waited);
    }

    fn over(&self, now: Nanos) -> bool {
        let patience = if self.tie == Some(Tie::Goroutine) {
            ABANDONED
        } else {
            IDLE
        };
        self.waiting == 0 && now.saturating_sub(self.end) > patience
    }
}

/// A connection from a client.
#[derive(Debug, Default)]
struct Client {
    address: Option<SocketAddr>,
    /// The goroutine that serves it.
    server: Option<u64>,
    /// Reads by goroutines that its server started.
    read_by_others: u32,
    multiplexed: bool,
}

/// Requests under way.
#[derive(Debug, Default)]
pub struct Requests {
    clients: HashMap<SocketId, Client>,
    /// Which connection a goroutine serves.
    serves: HashMap<u64, SocketId>,
    /// What a goroutine works on. Goroutine 0 collects what no goroutine is known for.
    current: HashMap<u64, Request>,
    seen: u64,
}

impl Requests {
    /// Requests seen to be answered so far.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Takes what happens on client connections; returns a request that was just answered.
    pub fn on(&mut self, event: &Event) -> Option<Request> {
        match &event.what {
            What::Receive {
                socket,
                by,
                bytes,
                handshake,
            } if *bytes > 0 => {
                self.received(event.at, socket, *by, (*bytes, *handshake));
                None
            }
            What::Send {
                socket, by, status, ..
            } if socket.accepted => self.answered(event.at, socket, *by, *status),
            What::State { socket, new, .. } if socket.accepted && *new == TcpState::Close => {
                self.closed(socket.id);
                None
            }
            _ => None,
        }
    }

    fn received(&mut self, at: Nanos, socket: &Socket, by: Actor, (bytes, handshake): (u64, bool)) {
        let Some(goid) = by.goid else { return };
        let client = self.clients.entry(socket.id).or_default();
        client.address = socket.remote;
        let server = *client.server.get_or_insert(goid);
        if server == goid {
            self.serves.insert(goid, socket.id);
            if !client.multiplexed && !handshake {
                self.begin(at, goid, socket.remote);
            }
        } else if by.parent == Some(server) && bytes > 1 {
            self.read_by_other(socket.id, server);
        }
    }

    /// In HTTP/1.1 others than the connection's goroutine read only to see a client go: one byte,
    /// or one TLS record. Who reads more is a reader of HTTP/2 frames.
    fn read_by_other(&mut self, id: SocketId, server: u64) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.read_by_others += 1;
        if client.read_by_others > 1 && !client.multiplexed {
            client.multiplexed = true;
            // What looked like its request was the connection's preface.
            self.current.remove(&server);
        }
    }

    fn begin(&mut self, at: Nanos, goid: u64, client: Option<SocketAddr>) {
        self.current.entry(goid).or_insert_with(|| Request {
            client,
            tie: Some(Tie::Goroutine),
            ..Request::new(at, goid)
        });
    }

    fn answered(
        &mut self,
        at: Nanos,
        socket: &Socket,
        by: Actor,
        status: Option<u16>,
    ) -> Option<Request> {
        // `100 Continue` asks for the rest of the request.
        if status.is_some_and(|status| status < 200) {
            return None;
        }
        let goid = by.goid?;
        let client = self.clients.entry(socket.id).or_default();
        client.address = socket.remote;
        if *client.server.get_or_insert(goid) != goid {
            return None;
        }
        self.serves.insert(goid, socket.id);
        let mut request = self.current.remove(&goid)?;
        request.acts(at, Some(Outcome::Ok));
        request.end = at;
        request.whole = true;
        request.status = status;
        // Within TLS, the end of a handshake looks like a request; only real ones are audited.
        self.seen += u64::from(status.is_some() || !request.operations.is_empty());
        Some(request)
    }

    fn closed(&mut self, id: SocketId) {
        let Some(client) = self.clients.remove(&id) else {
            return;
        };
        if let Some(server) = client.server {
            self.serves.remove(&server);
        }
    }

    /// Somebody waits for a device.
    pub fn waits(&mut self, at: Nanos, by: Actor) {
        let request = self.of(at, by);
        request.acts(at, Some(Outcome::Ok));
        request.waiting += 1;
        request.end = at;
    }

    /// Somebody's operation is over.
    pub fn did(&mut self, operation: Operation, waited: bool) {
        let request = self.of(operation.start, operation.by);
        if waited {
            request.waiting = request.waiting.saturating_sub(1);
        } else {
            request.acts(operation.start, Some(Outcome::Ok));
        }
        request.end = request.end.max(operation.end);
        if request.tie.is_none() && operation.entry.as_ref().is_some_and(|e| e.id.is_some()) {
            request.tie = Some(Tie::Payload);
        }
        request.operations.push(operation);
    }

    /// The request that this goroutine works on.
    fn of(&mut self, at: Nanos, by: Actor) -> &mut Request {
        let goid = by.goid.unwrap_or(0);
        let parent = by.parent.unwrap_or(0);
        let served_by_parent = self.serves.get(&parent).and_then(|id| self.clients.get(id));
        if !self.current.contains_key(&goid) && self.current.contains_key(&parent) && parent != 0 {
            return self.current.get_mut(&parent).expect("just looked up");
        }
        let lineage = served_by_parent
            .filter(|_| parent != 0)
            .map(|client| client.address);
        self.current.entry(goid).or_insert_with(|| match lineage {
            Some(client) => Request {
                client,
                tie: Some(Tie::Lineage),
                multiplexed: true,
                ..Request::new(at, goid)
            },
            None => Request::new(at, goid),
        })
    }

    /// Requests of clients of which nothing was heard since `since`.
    fn silent(&mut self, since: Nanos) -> impl Iterator<Item = (&u64, &mut Request)> {
        self.current.iter_mut().filter(move |(_, request)| {
            request.client.is_some() && request.waiting == 0 && request.end <= since
        })
    }

    /// Whether there are any.
    pub fn is_silent(&mut self, since: Nanos) -> bool {
        self.silent(since).next().is_some()
    }

    /// Takes where goroutines were found, of those requests that are silent.
    pub fn found(&mut self, at: Nanos, looks: &HashMap<u64, Look>) {
        for (goid, request) in self.silent(at) {
            if let Some(look) = looks.get(goid) {
                request.silence.look(at, look.clone());
            }
        }
    }

    /// Whether a request under way has used this device.
    pub fn use_device(&self, device: &Device) -> bool {
        let mut operations = self
            .current
            .values()
            .flat_map(|request| &request.operations);
        operations.any(|operation| operation.device == *device)
    }

    /// Requests of which nothing more is to be expected.
    pub fn expire(&mut self, now: Nanos) -> Vec<Request> {
        sorted(self.current.extract_if(|_, request| request.over(now)))
    }

    /// Ends the trace: all requests under way.
    pub fn end(&mut self, at: Nanos) -> Vec<Request> {
        for request in self.current.values_mut() {
            request.acts(at, None);
        }
        sorted(self.current.drain())
    }
}

fn sorted(requests: impl Iterator<Item = (u64, Request)>) -> Vec<Request> {
    let mut requests: Vec<_> = requests.map(|(_, request)| request).collect();
    requests.sort_by_key(|request| (request.start, request.goid));
    requests
}

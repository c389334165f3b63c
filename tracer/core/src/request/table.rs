//! Requests under way: who works on which.

use tracer_model::Attribution;
use tracer_model::RequestSeq;
mod attribution;
mod recently_finished;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
};

use rustc_hash::{FxHashMap, FxHashSet};

use self::recently_finished::RecentlyFinished;
use super::{
    Request, Stage,
    client::{Clients, Received, Sent},
};
use crate::{
    hang,
    sampled_wait::{Ends, StackSample},
    stall_periods::StallPeriod,
};
use tracer_model::{
    Actor, BufferedTotals, Device, Event, EventKind, NEGLIGIBLE_WAIT, Nanos, Op, Operation,
    Outcome, Socket, SocketId, TcpState,
};

/// Sinks that are remembered when their requests are over.
const RECENT: usize = 1 << 12;

/// Requests under way.
#[derive(Debug, Default)]
pub struct Requests {
    clients: Clients,
    /// Each in a place of its own: they are large, and the map moves what it holds.
    under_way: BTreeMap<RequestSeq, Box<Request>>,
    /// What a goroutine works on. Goroutine 0 collects what no goroutine is known for.
    works: FxHashMap<u64, RequestSeq>,
    /// By their clients' ports, those that are alone on their connections.
    ports: BTreeSet<(u16, RequestSeq)>,
    /// Sinks of requests of which all has been told.
    outlived: Recent,
    serials: RequestSeq,
    seen: u64,
    /// Whom a look under way may still find at requests that have ended.
    pub(crate) leavers: RecentlyFinished,
    /// Goroutines whose requests were counted while routine was held back.
    counted: FxHashSet<u64>,
}

/// Goroutines, as far as they are not too many.
#[derive(Debug, Default)]
struct Recent {
    all: FxHashSet<u64>,
    order: VecDeque<u64>,
}

impl Recent {
    fn add(&mut self, goid: u64) {
        if self.all.insert(goid) {
            self.order.push_back(goid);
        }
        if self.order.len() > RECENT
            && let Some(eldest) = self.order.pop_front()
        {
            self.all.remove(&eldest);
        }
    }
}

impl Requests {
    /// Requests seen to be answered so far.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Requests go on with others than those under way.
    pub fn go_on(&mut self, routine: &BufferedTotals) {
        self.clients = Clients::default();
        self.under_way.clear();
        self.works.clear();
        self.ports.clear();
        self.seen += routine.requests;
        self.counted = routine.counted.iter().copied().collect();
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.under_way.is_empty() && self.works.is_empty()
    }

    /// How many things are kept.
    pub fn kept(&self) -> usize {
        let requests: usize = self.under_way.values().map(|request| request.kept()).sum();
        let indexed = self.works.len() + self.ports.len();
        self.clients.kept() + requests + indexed + self.outlived.order.len()
    }

    /// All there are, eldest first.
    pub fn all(&self) -> impl Iterator<Item = &Request> {
        self.under_way.values().map(|request| &**request)
    }

    /// One of them.
    pub fn get(&self, serial: RequestSeq) -> Option<&Request> {
        self.under_way.get(&serial).map(|request| &**request)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, serial: RequestSeq) -> Option<&mut Request> {
        let request = self.under_way.get_mut(&serial);
        request.map(|request| &mut **request)
    }

    /// Takes what happens on client connections; returns requests of which nothing more is to come.
    pub fn on(&mut self, event: &Event) -> Vec<Request> {
        match &event.what {
            EventKind::Receive {
                socket,
                by,
                bytes,
                handshake,
            } if *bytes > 0 => self.received(event.at, socket, *by, (*bytes, *handshake)),
            EventKind::Send {
                socket,
                by,
                status,
                result,
                ..
            } if socket.accepted => {
                return self.sent(event.at, socket, *by, (*status, *result < 0));
            }
            EventKind::State {
                socket, by, new, ..
            } if socket.accepted => return self.closes(event.at, socket.id, *by, *new),
            _ => {}
        }
        Vec::new()
    }

    fn received(&mut self, at: Nanos, socket: &Socket, by: Actor, what: (u64, bool)) {
        match self.clients.received(at, socket, by, what) {
            Received::Request(goid) => self.begin(at, goid, socket),
            Received::Multiplexed(server) => drop(self.forget(server)),
            Received::Nothing => {}
        }
    }

    fn begin(&mut self, at: Nanos, goid: u64, socket: &Socket) {
        if !self.works.contains_key(&goid) {
            self.add(at, goid).begun = true;
        }
        self.is_served(goid, socket.remote);
    }

    /// The goroutine serves this client's connection, and works on a request of it.
    fn is_served(&mut self, goid: u64, client: Option<SocketAddr>) -> Option<&mut Request> {
        let request = self.under_way.get_mut(self.works.get(&goid)?)?;
        request.tie = Some(Attribution::Goroutine);
        if request.client != client {
            let port = |client: SocketAddr| (client.port(), request.serial);
            if let Some(before) = request.client.map(port) {
                self.ports.remove(&before);
            }
            self.ports
                .extend(client.map(port).filter(|_| !request.multiplexed));
            request.client = client;
        }
        Some(request)
    }

    fn add(&mut self, at: Nanos, goid: u64) -> &mut Request {
        self.serials += 1;
        let serial = self.serials;
        self.works.insert(goid, serial);
        self.under_way
            .entry(serial)
            .or_insert_with(|| Box::new(Request::new(serial, at, goid)))
    }

    fn sent(
        &mut self,
        at: Nanos,
        socket: &Socket,
        by: Actor,
        (status, failed): (Option<u16>, bool),
    ) -> Vec<Request> {
        // `100 Continue` asks for the rest of the request.
        if status.is_some_and(|status| status < 200) {
            return Vec::new();
        }
        match self.clients.sent(socket, by, failed) {
            Some(Sent::Answer(goid)) => {
                let answered = self.answered(at, goid, socket, status);
                answered.into_iter().collect()
            }
            Some(Sent::Frame(mistaken)) => {
                mistaken.map(|goid| self.forget(goid));
                self.framed(at, socket.id)
            }
            None => Vec::new(),
        }
    }

    fn answered(
        &mut self,
        at: Nanos,
        goid: u64,
        socket: &Socket,
        status: Option<u16>,
    ) -> Option<Request> {
        self.is_served(goid, socket.remote)?.status = status;
        self.over(at, goid, Stage::Answered)
    }

    /// The goroutine has done with its request. Sinks that it waits for no more may still be at work.
    fn over(&mut self, at: Nanos, goid: u64, stage: Stage) -> Option<Request> {
        let serial = self.works.remove(&goid)?;
        let request = self.under_way.get_mut(&serial)?;
        request.acts(at, goid);
        request.leaves_queues(at);
        request.end = at;
        request.stage = stage;
        // Within TLS, the end of a handshake looks like a request; only real ones are audited.
        let is_counted = self.counted.remove(&goid);
        let is_real = request.status.is_some() || !request.operations.is_empty();
        self.seen += u64::from(is_real && !is_counted);
        (!request.waits() && request.silences.is_empty()).then(|| self.remove(serial))?
    }

    /// Something was sent on a connection that carries several requests: the answers of those that
    /// have both their entries behind them.
    fn framed(&mut self, at: Nanos, id: SocketId) -> Vec<Request> {
        let Some(client) = self.clients.get_mut(id) else {
            return Vec::new();
        };
        let mut stirred = std::mem::take(&mut client.stirred);
        stirred.retain(|goid| {
            let serial = self.works.get(goid);
            let request = serial.and_then(|serial| self.under_way.get(serial));
            request.is_some_and(|request| hang::is_done(request))
        });
        stirred
            .into_iter()
            .filter_map(|goid| self.over(at, goid, Stage::Answered))
            .collect()
    }

    /// The server closes a client's connection, or it is gone.
    fn closes(
        &mut self,
        at: Nanos,
        id: SocketId,
        by: Option<Actor>,
        new: TcpState,
    ) -> Vec<Request> {
        match new {
            // Unanswered: its client has gone, and its handler has returned.
            TcpState::FinWait1 | TcpState::LastAck => {
                let goid = by.and_then(|by| by.goid);
                let serves = goid.filter(|goid| self.clients.served_by(*goid).is_some());
                serves
                    .and_then(|goid| self.over(at, goid, Stage::Abandoned))
                    .into_iter()
                    .collect()
            }
            TcpState::Close => {
                self.clients.closed(id);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Somebody waits for a device.
    pub fn waits(&mut self, at: Nanos, by: Actor) -> RequestSeq {
        let request = self.of(at, by);
        request.acts(at, by.goid.unwrap_or(0));
        request.waiting += 1;
        request.serial
    }

    /// Somebody's operation is over. Returns the request if nothing more is to come of it.
    pub fn did(&mut self, operation: Operation, waited: bool) -> Option<Request> {
        let by = operation.by;
        let (serial, is_orphan) = {
            let request = self.of(operation.start, by);
            (request.serial, request.is_orphan())
        };
        if let Some(entry) = operation.entry.as_ref().filter(|_| is_orphan) {
            self.adopt_by_entry(serial, by, entry);
        }
        let request = self.of(operation.start, by);
        if waited {
            request.waiting = request.waiting.saturating_sub(1);
        }
        request.acts(operation.start, by.goid.unwrap_or(0));
        request.acted = request.acted.max(operation.end);
        request.alive = request.alive.max(operation.end);
        request.lives_until(operation.end);
        if request.tie.is_none() && operation.entry.as_ref().is_some_and(|e| e.id.is_some()) {
            request.tie = Some(Attribution::Payload);
        }
        request.operations.push(operation);
        let (serial, stream) = (request.serial, request.stream());
        let is_over = request.stage != Stage::UnderWay && !request.waits();
        self.clients.stir(stream);
        is_over.then(|| self.remove(serial))?
    }

    /// A goroutine that was silent while others were stalled in the device now uses it itself: without
    /// stacks, that is all that tells that it queued.
    pub fn infer(&mut self, at: Nanos, by: Actor, device: &Device, span: StallPeriod) {
        let request = self.of(at, by);
        let start = request.acted.max(span.since);
        if span.by == request.serial || at.saturating_sub(start) < NEGLIGIBLE_WAIT {
            return;
        }
        request.operations.push(Operation {
            outcome: Some(Outcome::Ok),
            behind: Some(span.by),
            inferred: true,
            ..Operation::new(Op::Lock, device.clone(), by, (start, at))
        });
        request.acted = at;
        request.lives_until(at);
    }

    /// The request that this goroutine works on.
    pub fn of(&mut self, at: Nanos, by: Actor) -> &mut Request {
        let goid = by.goid.unwrap_or(0);
        let parent = by.parent.filter(|parent| *parent != 0);
        let known = self
            .works
            .get(&goid)
            .or_else(|| self.works.get(&parent?))
            .copied();
        match known {
            Some(serial) => self
                .under_way
                .get_mut(&serial)
                .expect("who works has a request"),
            None => self.add_of(at, goid, parent),
        }
    }

    /// The same, if there is one already.
    pub fn whose_wait(&self, by: Actor) -> Option<RequestSeq> {
        let parent = || by.parent.filter(|parent| *parent != 0);
        let own = self.works.get(&by.goid.unwrap_or(0));
        own.or_else(|| self.works.get(&parent()?)).copied()
    }

    /// A request of the connection that it or its parent serves, else of nobody knows whom.
    fn add_of(&mut self, at: Nanos, goid: u64, parent: Option<u64>) -> &mut Request {
        if self
            .clients
            .served_by(goid)
            .is_some_and(|client| !client.multiplexed)
        {
            return self.resume(goid);
        }
        if self.outlived.all.contains(&goid) {
            let request = self.add(at, goid);
            request.stage = Stage::Outlived;
            return request;
        }
        let connection = parent.and_then(|parent| self.clients.of_server(parent));
        let client = connection.and_then(|id| self.clients.get_mut(id));
        let address = client.map(|client| {
            client.stirred.insert(goid);
            client.address
        });
        let request = self.add(at, goid);
        if let Some(address) = address {
            request.client = address;
            request.tie = Some(Attribution::Lineage);
            request.multiplexed = true;
            request.connection = connection;
        }
        request
    }

    /// What was sent to a client that has asked for nothing more since was no answer, but the end of
    /// a TLS handshake: its request had come together with that.
    fn resume(&mut self, goid: u64) -> &mut Request {
        let client = self.clients.served_by(goid);
        let (received, address) =
            client.map_or((0, None), |client| (client.received, client.address));
        let request = self.add(received, goid);
        request.begun = received > 0;
        self.is_served(goid, address).expect("just added")
    }

    /// Takes where a goroutine of a request was found.
    pub fn found(
        &mut self,
        at: Nanos,
        (serial, goid): (RequestSeq, u64),
        since: Nanos,
        look: StackSample,
    ) {
        if let Some(request) = self.under_way.get_mut(&serial) {
            request.found(at, goid, since, Some(look));
            let stream = request.stream();
            self.clients.stir(stream);
        }
    }

    /// Whether it is known whose request this goroutine works on.
    pub fn is_known(&self, goid: u64) -> bool {
        self.works.contains_key(&goid)
    }

    /// Takes that no others were found anywhere.
    pub fn not_found(&mut self, at: Nanos, found: &FxHashSet<u64>) {
        for request in self
            .under_way
            .values_mut()
            .filter(|request| !request.waits())
        {
            let mut lost: Vec<_> = request.silences.keys().copied().collect();
            lost.extend(request.goid);
            lost.retain(|goid| !found.contains(goid));
            lost.dedup();
            for goid in lost {
                request.found(at, goid, 0, None);
                self.clients.stir(request.stream());
            }
        }
    }

    /// Whether a request under way has used this device.
    pub fn use_device(&self, device: &Device) -> bool {
        let mut operations = self
            .under_way
            .values()
            .flat_map(|request| &request.operations);
        operations.any(|operation| operation.device == *device)
    }

    /// Requests of which nothing more is to be expected.
    pub fn expire(&mut self, now: Nanos) -> Vec<Request> {
        let over = self
            .under_way
            .values()
            .filter(|request| request.is_over(now));
        let over: Vec<_> = over.map(|request| request.serial).collect();
        over.into_iter()
            .filter_map(|serial| self.remove(serial))
            .collect()
    }

    /// Ends the trace, or the server has ended: all requests under way.
    pub fn end(&mut self, at: Nanos) -> Vec<Request> {
        self.clients = Clients::default();
        self.works.clear();
        self.ports.clear();
        let mut all = std::mem::take(&mut self.under_way);
        for request in all.values_mut() {
            request.ends(Ends::Cut(at));
        }
        all.into_values().map(|request| *request).collect()
    }

    fn forget(&mut self, goid: u64) -> Option<Request> {
        self.remove(*self.works.get(&goid)?)
    }

    /// Takes it out of all tables.
    fn remove(&mut self, serial: RequestSeq) -> Option<Request> {
        let mut request = self.under_way.remove(&serial)?;
        self.clients.settles(request.stream());
        if let Some(client) = request.client {
            self.ports.remove(&(client.port(), serial));
        }
        for goid in &request.goroutines {
            if self.works.get(goid) == Some(&serial) {
                self.works.remove(goid);
            }
            self.leavers.add(*goid, request.acted);
        }
        if request.kin.is_some() {
            let sinks = request
                .goroutines
                .iter()
                .filter(|goid| Some(**goid) != request.goid);
            sinks.for_each(|goid| self.outlived.add(*goid));
        }
        request.ends(Ends::Fades);
        Some(*request)
    }
}

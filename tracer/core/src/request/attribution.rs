//! For which request a goroutine works.
//!
//! In HTTP/1.1 one goroutine reads a request, audits it, works, audits the answer and writes it (`net/http`, `conn.serve`). In
//! HTTP/2 the connection's goroutine starts one for each request (`http2serverConn.runHandler`). Vault since 1.15 writes each
//! entry in goroutines of their own, one for each sink, whose grandparent is the request's (`hashicorp/eventlogger`,
//! `graph.go`): only their stacks tell, or the entry. Others write for all requests of a connection
//! (`net/http`, `persistConn.writeLoop`): their parent is just the request that happened to start them.

use jiff::Timestamp;
use tracer_model::{
    Actor, Attribution, Device, EntryHead, NEGLIGIBLE_WAIT, Nanos, Operation, RequestSeq,
};

use crate::request::{
    lifecycle::{Signal, Stage},
    request::Request,
    table::{Act, Requests},
};

/// The program's first goroutine (`runtime/proc.go`, `main`). It serves no request: on SIGHUP it opens the server's devices again
/// (`command/server.go`).
const MAIN: u64 = 1;

impl Requests {
    /// The request for which a goroutine acts; `None` where that is over already, or it acts for none.
    pub(super) fn attribute(&mut self, at: Nanos, by: Actor, act: Act<'_>) -> Option<RequestSeq> {
        let goid = by.goid.unwrap_or(0);
        let parent = by.parent.filter(|parent| *parent != 0);
        let entry = match act {
            Act::Write(entry) => entry,
            Act::Dial => None,
        };
        if let Some(seq) = self.own(at, goid, entry) {
            let seq = self.by_better_entry(at, seq, by, entry);
            self.merge_newly_named(seq, entry);
            return Some(seq);
        }
        if let Some(seq) = entry.and_then(|entry| self.by_entry(at, entry)) {
            if self.get(seq).is_some_and(Request::is_unattributed) && self.is_handler(goid, parent)
            {
                let own = self.new_for(at, goid, parent);
                self.merge_newly_named(own, entry);
                return Some(own);
            }
            self.assign_by_entry(by, seq);
            return Some(seq);
        }
        if self.is_nobodys(goid) {
            return None;
        }
        let is_dial = matches!(act, Act::Dial);
        if let Some(seq) = parent.and_then(|parent| self.of_parent(parent, is_dial)) {
            if is_dial {
                self.join(goid, seq);
            }
            self.merge_newly_named(seq, entry);
            return Some(seq);
        }
        Some(self.new_for(at, goid, parent))
    }

    /// The request that a wait of this goroutine belongs to, if it is under way.
    pub(crate) fn of_wait(&self, by: Actor) -> Option<RequestSeq> {
        let own = self.works.get(&by.goid.unwrap_or(0)).copied();
        let parent = by.parent.filter(|parent| *parent != 0);
        own.or_else(|| self.of_parent(parent?, true))
    }

    /// The request that the goroutine works for. If the entry is another's, or if records were lost and nothing shows that
    /// it is still this request, that is over.
    fn own(&mut self, at: Nanos, goid: u64, entry: Option<&EntryHead>) -> Option<RequestSeq> {
        let doubt_until = self.doubt_until;
        let seq = *self.works.get(&goid)?;
        let request = self.open.get_mut(&seq)?;
        let is_own = request.goid == Some(goid);
        if entry.is_some_and(|entry| request.is_contradicted_by(entry)) {
            if is_own {
                request.signal(Signal::RecordsLost);
                self.finish(seq, Signal::ActsAgain, at);
            } else {
                self.works.remove(&goid);
            }
            return None;
        }
        // Of one that is known by its acts alone, nothing shows that what comes next is still its own, where records may be missing.
        let is_by_acts = request.stage == Stage::Unattributed && !request.has_open_operations();
        if is_by_acts && is_own && at <= doubt_until {
            if entry.is_some_and(|entry| request.is_confirmed_by(entry)) {
                return Some(seq);
            }
            self.works.remove(&goid);
            return None;
        }
        if request.stage == Stage::InDoubt && is_own {
            let is_confirmed = entry.is_some_and(|entry| request.is_confirmed_by(entry));
            if request.is_stream || is_confirmed {
                request.confirm(at, doubt_until);
            } else {
                self.finish(seq, Signal::ActsAgain, at);
                return None;
            }
        }
        Some(seq)
    }

    /// Where a goroutine's request is not known to be a client's, its entry may say whose it is.
    fn by_better_entry(
        &mut self,
        at: Nanos,
        seq: RequestSeq,
        by: Actor,
        entry: Option<&EntryHead>,
    ) -> RequestSeq {
        let is_unattributed = self.get(seq).is_some_and(Request::is_unattributed);
        let of_entry = entry
            .filter(|_| is_unattributed)
            .and_then(|entry| self.by_entry(at, entry))
            .filter(|of_entry| *of_entry != seq);
        if let Some(of_entry) = of_entry
            && self.merge_into(seq, of_entry, Attribution::Payload)
        {
            self.assign_by_entry(by, of_entry);
            return of_entry;
        }
        seq
    }

    /// Whether what this goroutine does is nobody's wait.
    pub(super) fn is_nobodys(&self, goid: u64) -> bool {
        goid == MAIN || self.finished.is_detached(goid)
    }

    /// Whether it is the goroutine of a request: the one that serves an HTTP/1.1 connection, or that one's child over HTTP/2.
    fn is_handler(&self, goid: u64, parent: Option<u64>) -> bool {
        let of_parent = parent.and_then(|parent| self.serves_multiplexed(parent));
        self.serves_multiplexed(goid) == Some(false) || of_parent == Some(true)
    }

    /// Whether the connection that the goroutine serves carries several requests at once; `None` if it serves none.
    fn serves_multiplexed(&self, goid: u64) -> Option<bool> {
        let connection = self.connections.served_by(goid)?;
        Some(connection.protocol.is_multiplexed())
    }

    /// The entry says for the first time which request this is: another goroutine may have written entries of it before.
    fn merge_newly_named(&mut self, seq: RequestSeq, entry: Option<&EntryHead>) {
        let is_new = |entry: &&EntryHead| {
            let request = self.get(seq);
            request.is_some_and(|r| !r.is_unattributed() && !r.is_confirmed_by(entry))
        };
        if let Some(entry) = entry.filter(|entry| entry.id.is_some()).filter(is_new) {
            self.merge_parts(seq, entry);
        }
    }

    /// The one request under way that the entry can be of: it bears the client's port, and was written after the request
    /// began.
    fn by_entry(&self, at: Nanos, entry: &EntryHead) -> Option<RequestSeq> {
        let of_id = self.all().filter(|request| request.is_confirmed_by(entry));
        // One that is known to be a client's, or to be in the broker, rather than a part of it.
        let of_id = of_id.min_by_key(|r| (r.is_unattributed(), r.last_in_broker.is_none(), r.seq));
        if let Some(request) = of_id {
            return Some(request.seq);
        }
        let port = entry.remote_port?;
        let of_port = self.ports.range((port, 0)..=(port, RequestSeq::MAX));
        let mut meant = of_port.filter_map(|(_, seq)| {
            let request = self.get(*seq)?;
            let is_named = self.entry_clients.names(request.client?, entry);
            (is_named && !request.is_contradicted_by(entry)).then_some(request)
        });
        let (Some(request), None) = (meant.next(), meant.next()) else {
            return None;
        };
        let written = entry.time.map(Timestamp::as_nanosecond);
        let began = i128::from(self.wall_offset) + i128::from(request.start);
        let is_later = written.is_none_or(|written| written >= began) && at >= request.start;
        (is_later && request.stage != Stage::InDoubt).then_some(request.seq)
    }

    /// The writer of an entry works for its request, and so do its siblings, which its parent starts.
    fn assign_by_entry(&mut self, by: Actor, seq: RequestSeq) {
        if let Some(goid) = by.goid {
            self.assign(goid, seq, Attribution::Payload);
        }
        let parent = by.parent.filter(|parent| *parent != 0);
        let is_free = |parent: &u64| {
            !self.works.contains_key(parent) && self.connections.served_by(*parent).is_none()
        };
        if let Some(parent) = parent.filter(is_free) {
            self.assign(parent, seq, Attribution::Payload);
        }
    }

    /// A child of a request's own goroutine dials for it. Other children of that may write for any request, and so may those of
    /// one that dialled (`net/http`, `dialConnFor`, starts `persistConn.writeLoop`); those of goroutines in between are sinks of
    /// the same entry.
    fn of_parent(&self, parent: u64, is_dial: bool) -> Option<RequestSeq> {
        let seq = *self.works.get(&parent)?;
        let request = self.get(seq)?;
        let starts_writers = request.goid == Some(parent) || request.dialers.contains(&parent);
        (is_dial || !starts_writers).then_some(seq)
    }

    /// A goroutine that dials for a request is that request's to its end: of two that race, one may outlast the answer.
    fn join(&mut self, goid: u64, seq: RequestSeq) {
        if goid != 0
            && self.works.insert(goid, seq).is_none()
            && let Some(request) = self.open.get_mut(&seq)
        {
            request.goroutines.push(goid);
            request.dialers.push(goid);
        }
    }

    fn new_for(&mut self, at: Nanos, goid: u64, parent: Option<u64>) -> RequestSeq {
        if self.serves_multiplexed(goid) == Some(false) {
            return self.add_for_server(at, goid);
        }
        self.add_stream_or_unattributed(at, goid, parent)
    }

    /// A request of the connection that the parent serves, which is multiplexed then; else of an unknown client. Who serves a
    /// request itself does so alone.
    pub(super) fn add_stream_or_unattributed(
        &mut self,
        at: Nanos,
        goid: u64,
        parent: Option<u64>,
    ) -> RequestSeq {
        let server = parent.filter(|parent| !self.works.contains_key(parent));
        let id = server.and_then(|server| self.connections.id_served_by(server));
        let connection = id.and_then(|id| self.connections.get_mut(id));
        let stream = connection.map(|connection| {
            connection.active_streams.insert(goid);
            connection.streams += 1;
            (connection.address, connection.streams)
        });
        let began_alone = id.is_some_and(|id| !self.all().any(|r| r.is_stream_of(id)));
        let doubt_until = self.doubt_until;
        let request = self.add(at, goid);
        if let Some((address, number)) = stream {
            request.client = address;
            request.lone_stream = began_alone.then_some(number);
            request.attribution = Some(Attribution::Lineage);
            request.is_stream = true;
            request.connection = id;
            request.signal(Signal::ClientKnown);
            if at <= doubt_until {
                request.signal(Signal::RecordsLost);
            }
        }
        request.seq
    }

    /// A request of the client whose connection this goroutine serves. It began with the client's last bytes: what was sent
    /// since was the end of a TLS handshake, with which the request had come.
    pub(super) fn add_for_server(&mut self, at: Nanos, goid: u64) -> RequestSeq {
        let connection = self.connections.served_by(goid);
        let (received, client) = connection.map_or((0, None), |c| (c.received, c.address));
        let begin_seen = received > 0;
        let request = self.add(if begin_seen { received } else { at }, goid);
        request.begin_seen = begin_seen;
        let seq = request.seq;
        self.set_client(goid, client);
        seq
    }

    /// What seemed to be requests of unknown clients, and wrote an entry of this one, are parts of it.
    pub(super) fn merge_parts(&mut self, seq: RequestSeq, entry: &EntryHead) {
        let confirmed = |request: &&Request| request.seq != seq && request.is_confirmed_by(entry);
        let parts: Vec<_> = self.all().filter(confirmed).map(|r| r.seq).collect();
        for part in parts {
            self.merge_into(part, seq, Attribution::Payload);
        }
    }

    /// The request that this goroutine works for has met a device that failed at once: what seemed to be requests of unknown
    /// clients, and only failed there, are its sinks.
    pub(crate) fn claim_failures(&mut self, by: Actor, device: &Device) {
        let Some(seq) = by.goid.and_then(|goid| self.works.get(&goid).copied()) else {
            return;
        };
        let failed_at_once = |operation: &Operation| {
            let is_short = operation.duration() < NEGLIGIBLE_WAIT;
            operation.device == *device && operation.failed() && is_short
        };
        let is_sink = |request: &&Request| {
            let is_its = request.operations.iter().all(failed_at_once);
            request.seq != seq && is_its && !request.operations.is_empty()
        };
        let sinks: Vec<_> = self.all().filter(is_sink).map(|r| r.seq).collect();
        for sink in sinks {
            self.merge_into(sink, seq, Attribution::Lineage);
        }
    }

    /// Makes a request of an unknown client part of another one.
    pub(super) fn merge_into(
        &mut self,
        from: RequestSeq,
        into: RequestSeq,
        how: Attribution,
    ) -> bool {
        let (Some(part), Some(whole)) = (self.get(from), self.get(into)) else {
            return false;
        };
        let contradicts = |entry: &EntryHead| whole.is_contradicted_by(entry);
        if !part.is_unattributed() || part.entry().is_some_and(contradicts) {
            return false;
        }
        let Some(part) = self.open.remove(&from) else {
            return false;
        };
        self.take_over(into, *part, how);
        true
    }

    pub(super) fn take_over(&mut self, into: RequestSeq, part: Request, how: Attribution) {
        for goid in &part.goroutines {
            self.assign(*goid, into, how);
        }
        if let Some(request) = self.open.get_mut(&into) {
            request.merge(part);
            let stream = request.stream();
            self.connections.mark_active(stream);
        }
    }

    pub(super) fn assign(&mut self, goid: u64, seq: RequestSeq, how: Attribution) {
        if self.works.insert(goid, seq) != Some(seq)
            && let Some(request) = self.open.get_mut(&seq)
        {
            request.goroutines.push(goid);
            request.merged_by.get_or_insert(how);
        }
    }
}

//! The connections from clients: who serves each, and whether it carries several requests at once.
//!
//! In HTTP/1.1 the goroutine that serves a connection reads and answers (`net/http`, `conn.serve`). In
//! HTTP/2 it starts one that reads frames, one for each frame to be written, and one for each request
//! (`http2serverConn`: `readFrames`, `writeFrameAsync`, `runHandler`).

use std::{collections::BTreeSet, net::SocketAddr};

use rustc_hash::FxHashMap;

use tracer_model::{Actor, Nanos, Socket, SocketId};

/// A connection from a client.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) address: Option<SocketAddr>,
    /// The goroutine that serves it.
    server: Option<u64>,
    /// Who started that one.
    parent: Option<u64>,
    /// The goroutine that its server started which read last, and how often in a row; and whether one of those wrote.
    read_by: Option<u64>,
    read_by_others: u32,
    written_by_others: bool,
    pub(super) multiplexed: bool,
    /// When data came last.
    pub(super) received: Nanos,
    /// Goroutines at work on its requests, if it is multiplexed: those of which something was seen since
    /// the last frame was sent. Of the others, that frame was no answer, and the next one is none.
    pub(super) stirred: BTreeSet<u64>,
}

/// A request on a connection that carries several: that, and the request's goroutine.
pub(super) type Stream = (SocketId, u64);

/// What data from a client means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// The goroutine begins a request, or reads more of it.
    Request(u64),
    /// The connection carries several at once: what this goroutine seemed to begin was none.
    Multiplexed(u64),
    /// Nothing.
    Nothing,
}

/// What data to a client means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The goroutine answers its request.
    Answer(u64),
    /// One of the requests of a multiplexed connection may be answered. The goroutine named, if any,
    /// was taken for one that serves a request.
    Frame(Option<u64>),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Clients {
    connections: FxHashMap<SocketId, Client>,
    /// Which connection a goroutine serves.
    serves: FxHashMap<u64, SocketId>,
}

impl Clients {
    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.serves.is_empty()
    }

    pub(super) fn kept(&self) -> usize {
        let stirred = self.connections.values().map(|client| client.stirred.len());
        self.connections.len() + self.serves.len() + stirred.sum::<usize>()
    }

    /// Something was seen of a request.
    pub(super) fn stir(&mut self, stream: Option<Stream>) {
        let Some((id, goid)) = stream else { return };
        if let Some(client) = self.connections.get_mut(&id) {
            client.stirred.insert(goid);
        }
    }

    /// It is over.
    pub(super) fn settles(&mut self, stream: Option<Stream>) {
        let Some((id, goid)) = stream else { return };
        if let Some(client) = self.connections.get_mut(&id) {
            client.stirred.remove(&goid);
        }
    }

    /// Which connection this goroutine serves.
    pub(super) fn of_server(&self, goid: u64) -> Option<SocketId> {
        self.serves.get(&goid).copied()
    }

    /// The connection that this goroutine serves.
    pub(super) fn served_by(&mut self, goid: u64) -> Option<&mut Client> {
        self.connections.get_mut(self.serves.get(&goid)?)
    }

    pub(super) fn get_mut(&mut self, id: SocketId) -> Option<&mut Client> {
        self.connections.get_mut(&id)
    }

    /// `bytes` came; `handshake`: as a TLS record that is no request.
    pub(super) fn received(
        &mut self,
        at: Nanos,
        socket: &Socket,
        by: Actor,
        (bytes, handshake): (u64, bool),
    ) -> Received {
        let Some(goid) = by.goid else {
            return Received::Nothing;
        };
        let client = self.connections.entry(socket.id).or_default();
        client.address = socket.remote;
        client.received = at;
        if client.is_served_by(by) {
            self.serves.insert(goid, socket.id);
            let begins = !client.multiplexed && !handshake;
            return if begins {
                Received::Request(goid)
            } else {
                Received::Nothing
            };
        }
        if client.is_sibling(by) {
            return self
                .is_multiplexed(socket.id)
                .map_or(Received::Nothing, Received::Multiplexed);
        }
        if bytes > 1 && client.server.is_some() && by.parent == client.server {
            return client
                .read_by_another(by)
                .map_or(Received::Nothing, Received::Multiplexed);
        }
        Received::Nothing
    }

    /// A goroutine other than this one, which it started, works on a request: that is how HTTP/2 is served.
    /// Returns it if that is news.
    pub(super) fn has_streams(&mut self, server: u64) -> Option<u64> {
        let client = self.served_by(server)?;
        (!std::mem::replace(&mut client.multiplexed, true)).then_some(server)
    }

    /// Something was sent; `failed`: nothing more will come of this connection.
    pub(super) fn sent(&mut self, socket: &Socket, by: Actor, failed: bool) -> Option<Sent> {
        let goid = by.goid?;
        if failed && !self.connections.contains_key(&socket.id) {
            return Some(Sent::Answer(goid));
        }
        let client = self.connections.entry(socket.id).or_default();
        client.address = socket.remote;
        if client.is_served_by(by) {
            self.serves.insert(goid, socket.id);
            return Some(if client.multiplexed {
                Sent::Frame(None)
            } else {
                Sent::Answer(goid)
            });
        }
        if !client.multiplexed && client.is_sibling(by) {
            return Some(Sent::Frame(self.is_multiplexed(socket.id)));
        }
        if client.server.is_some() && by.parent == client.server {
            client.written_by_others = true;
            let learnt = client.is_learnt();
            return (learnt.is_some() || client.multiplexed).then_some(Sent::Frame(learnt));
        }
        client.multiplexed.then_some(Sent::Frame(None))
    }

    /// Of a connection that the trace came late to, a reader or writer of frames was seen first and
    /// taken for its server, which is that one's parent. Returns who was mistaken.
    fn is_multiplexed(&mut self, id: SocketId) -> Option<u64> {
        let client = self.connections.get_mut(&id)?;
        client.multiplexed = true;
        let mistaken = std::mem::replace(&mut client.server, client.parent.take())?;
        self.serves.remove(&mistaken);
        if let Some(server) = client.server {
            self.serves.insert(server, id);
        }
        Some(mistaken)
    }

    /// The connection is gone.
    pub(super) fn closed(&mut self, id: SocketId) {
        if let Some(server) = self
            .connections
            .remove(&id)
            .and_then(|client| client.server)
        {
            self.serves.remove(&server);
        }
    }
}

impl Client {
    /// Whether this goroutine serves the connection: the first one seen does, until it is known better.
    fn is_served_by(&mut self, by: Actor) -> bool {
        let is_first = self.server.is_none();
        if is_first {
            self.server = by.goid;
            self.parent = by.parent;
        }
        self.server == by.goid
    }

    /// Whether this goroutine and the supposed server are both children of the true one. In HTTP/1.1
    /// the server's parent accepts connections, and its other children have their own.
    fn is_sibling(&self, by: Actor) -> bool {
        self.parent.is_some() && (by.parent == self.parent || by.goid == self.parent)
    }

    fn read_by_another(&mut self, by: Actor) -> Option<u64> {
        let goes_on = std::mem::replace(&mut self.read_by, by.goid) == by.goid;
        self.read_by_others = if goes_on { self.read_by_others + 1 } else { 1 };
        self.is_learnt()
    }

    /// In HTTP/1.1 others than the connection's goroutine read only to see a client go (`net/http`,
    /// `connReader.backgroundRead`): one byte, or one TLS record, which may be the next request, each in a
    /// goroutine of its own; and none of them writes. Who does more reads or writes frames of HTTP/2.
    /// Returns the server when that is learnt: what seemed to be its request was the connection's
    /// preface.
    fn is_learnt(&mut self) -> Option<u64> {
        let both = self.read_by_others > 0 && self.written_by_others;
        if self.multiplexed || !(both || self.read_by_others > 1) {
            return None;
        }
        self.multiplexed = true;
        self.server
    }
}

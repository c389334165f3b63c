//! The connections from clients: which goroutine serves each, and whether it carries several requests at once.
//!
//! In HTTP/1.1 the goroutine that serves a connection reads and answers (`net/http`, `conn.serve`). In HTTP/2 it starts one
//! that reads frames, one for each frame to be written, and one for each request (`http2serverConn`: `readFrames`,
//! `writeFrameAsync`, `runHandler`).

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
};

use rustc_hash::FxHashMap;
use tracer_model::{Actor, Nanos, Phase, Socket, SocketId};

/// Frames kept of one connection: what was sent since the last sample, and more.
const MAX_FRAMES: usize = 64;

/// An answer is longer than this: `PING`, `WINDOW_UPDATE` and an empty `SETTINGS` have at most 17 bytes, and a TLS 1.3 record
/// adds 22 (RFC 9113, RFC 8446).
const MAX_CONTROL_FRAME: u64 = 39;

/// How many requests a connection carries at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// One, as far as has been seen (HTTP/1.1). Children of the serving goroutine read only to see the client go
    /// (`connReader.backgroundRead`): one byte, or one TLS record, which may be the next request, each in a goroutine of its
    /// own; and none of them writes.
    OneAtATime {
        /// The child that read last, and how often in a row.
        reader: Option<u64>,
        reads: u32,
        /// Whether a child wrote.
        child_wrote: bool,
    },
    /// Several (HTTP/2).
    Multiplexed,
}

/// What is seen of a connection that tells its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// A child of the serving goroutine read more than one byte.
    ChildReads(u64),
    /// A child of the serving goroutine wrote.
    ChildWrites,
    /// A child of the serving goroutine works on a request, or the one that was taken for it has a sibling on the connection.
    Streams,
}

impl Default for Protocol {
    fn default() -> Self {
        Self::OneAtATime {
            reader: None,
            reads: 0,
            child_wrote: false,
        }
    }
}

impl Protocol {
    pub(crate) fn is_multiplexed(self) -> bool {
        self == Self::Multiplexed
    }

    /// The protocol as it is known after this sign.
    pub(crate) fn after(self, sign: Sign) -> Self {
        let Self::OneAtATime {
            reader,
            reads,
            child_wrote,
        } = self
        else {
            return self;
        };
        let (reader, reads, child_wrote) = match sign {
            Sign::Streams => return Self::Multiplexed,
            Sign::ChildReads(goid) if reader == Some(goid) => (reader, reads + 1, child_wrote),
            Sign::ChildReads(goid) => (Some(goid), 1, child_wrote),
            Sign::ChildWrites => (reader, reads, true),
        };
        if reads > 1 || (reads > 0 && child_wrote) {
            return Self::Multiplexed;
        }
        Self::OneAtATime {
            reader,
            reads,
            child_wrote,
        }
    }
}

/// A connection from a client.
#[derive(Debug, Default)]
pub(crate) struct ClientConnection {
    pub(crate) address: Option<SocketAddr>,
    /// The goroutine that serves it: the first one seen, until it is known better.
    server: Option<u64>,
    /// The goroutine that started that one.
    parent: Option<u64>,
    pub(crate) protocol: Protocol,
    /// When data came last.
    pub(crate) received: Nanos,
    /// Of a multiplexed connection: goroutines of requests of which something was seen since the last frame was sent. Of the
    /// others, that frame was no answer.
    pub(crate) active_streams: BTreeSet<u64>,
    /// How many requests it has carried since it is known to be multiplexed.
    pub(crate) streams: u64,
    /// Frames that may be answers, oldest first: when they were sent.
    frames: VecDeque<Nanos>,
    /// When data came, oldest first.
    receives: VecDeque<Nanos>,
}

/// A request on a multiplexed connection: that, and the request's goroutine.
pub(crate) type Stream = (SocketId, u64);

/// What data from a client means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReceivedMeaning {
    /// The goroutine begins a request, or reads more of it.
    Request(u64),
    /// The connection turned out to be multiplexed: what this goroutine seemed to begin was no request.
    Multiplexed(u64),
    Nothing,
}

/// What data to a client means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SentMeaning {
    /// The goroutine answers its request.
    Answer(u64),
    /// One of the requests of a multiplexed connection may be answered. The goroutine named, if any, was taken for one that
    /// serves a request.
    Frame(Option<u64>),
}

/// All connections from clients.
#[derive(Debug, Default)]
pub(crate) struct ClientConnections {
    connections: FxHashMap<SocketId, ClientConnection>,
    /// Which connection a goroutine serves.
    served: FxHashMap<u64, SocketId>,
}

impl ClientConnections {
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.served.is_empty()
    }

    pub(crate) fn kept(&self) -> usize {
        let of_each = |c: &ClientConnection| 1 + c.active_streams.len();
        let connections: usize = self.connections.values().map(of_each).sum();
        connections + self.served.len()
    }

    /// Something was seen of a request.
    pub(crate) fn mark_active(&mut self, stream: Option<Stream>) {
        let Some((id, goid)) = stream else { return };
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.active_streams.insert(goid);
        }
    }

    /// A request is over.
    pub(crate) fn mark_finished(&mut self, stream: Option<Stream>) {
        let Some((id, goid)) = stream else { return };
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.active_streams.remove(&goid);
        }
    }

    /// Which connection this goroutine serves.
    pub(crate) fn id_served_by(&self, goid: u64) -> Option<SocketId> {
        self.served.get(&goid).copied()
    }

    /// The connection that this goroutine serves.
    pub(crate) fn served_by(&self, goid: u64) -> Option<&ClientConnection> {
        self.connections.get(self.served.get(&goid)?)
    }

    pub(crate) fn get(&self, id: SocketId) -> Option<&ClientConnection> {
        self.connections.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: SocketId) -> Option<&mut ClientConnection> {
        self.connections.get_mut(&id)
    }

    /// When a client last sent something after this time on a connection that carries several requests, and nothing that may be
    /// an answer was sent there since; the earliest of all. A request of it may wait where no probe sees it.
    pub(crate) fn unanswered_since(&self, since: Nanos) -> Option<Nanos> {
        let connections = self.connections.values();
        let unanswered = connections.filter(|connection| {
            let is_later = |sent: &Nanos| *sent > connection.received;
            let is_new = connection.received > since && connection.protocol.is_multiplexed();
            is_new && !connection.frames.back().is_some_and(is_later)
        });
        unanswered.map(|connection| connection.received).min()
    }

    /// Where the first event of a connection was a background read of HTTP/1.1, the child that made it was taken for the one
    /// that serves the connection, until its parent reads or writes itself. Returns the child.
    pub(crate) fn correct_child(&mut self, id: SocketId, by: Actor) -> Option<u64> {
        let connection = self.connections.get_mut(&id)?;
        let is_parent = by.goid.is_some() && by.goid == connection.parent;
        let is_child = is_parent && !connection.protocol.is_multiplexed();
        let child = connection.server.filter(|_| is_child)?;
        (connection.server, connection.parent) = (by.goid, by.parent);
        self.served.remove(&child);
        Some(child)
    }

    /// `bytes` came; `handshake`: as a TLS record that carries no request.
    pub(crate) fn received(
        &mut self,
        at: Nanos,
        socket: &Socket,
        by: Actor,
        (bytes, handshake): (u64, bool),
    ) -> ReceivedMeaning {
        let Some(goid) = by.goid else {
            return ReceivedMeaning::Nothing;
        };
        let connection = self.connections.entry(socket.id).or_default();
        connection.address = socket.remote;
        connection.received = at;
        push_bounded(&mut connection.receives, at);
        if connection.is_served_by(by) {
            self.served.insert(goid, socket.id);
            let begins = !connection.protocol.is_multiplexed() && !handshake;
            return if begins {
                ReceivedMeaning::Request(goid)
            } else {
                ReceivedMeaning::Nothing
            };
        }
        let mistaken = if connection.is_sibling(by) {
            self.correct_server(socket.id)
        } else if bytes > 1 && connection.is_child(by) {
            connection.learn(Sign::ChildReads(goid))
        } else {
            None
        };
        mistaken.map_or(ReceivedMeaning::Nothing, ReceivedMeaning::Multiplexed)
    }

    /// A child of this goroutine works on a request. Returns the goroutine if that is news: what seemed to be its request
    /// was none.
    pub(crate) fn has_streams(&mut self, server: u64) -> Option<u64> {
        let connection = self.connections.get_mut(self.served.get(&server)?)?;
        connection.learn(Sign::Streams)
    }

    /// Children of this goroutine that seemed to be streams of its connection, which carries one request at a time.
    pub(crate) fn take_children_of(&mut self, server: u64) -> BTreeSet<u64> {
        let id = self.served.get(&server);
        let connection = id.and_then(|id| self.connections.get_mut(id));
        let connection = connection.filter(|c| !c.protocol.is_multiplexed());
        connection.map_or_else(BTreeSet::new, |c| std::mem::take(&mut c.active_streams))
    }

    /// `bytes` were sent; `failed`: nothing more will come of this connection.
    pub(crate) fn sent(
        &mut self,
        at: Nanos,
        socket: &Socket,
        by: Actor,
        (bytes, failed): (u64, bool),
    ) -> Option<SentMeaning> {
        let goid = by.goid?;
        if failed && !self.connections.contains_key(&socket.id) {
            return Some(SentMeaning::Answer(goid));
        }
        let connection = self.connections.entry(socket.id).or_default();
        connection.address = socket.remote;
        connection.add_frame(at, bytes);
        if connection.is_served_by(by) {
            self.served.insert(goid, socket.id);
            return Some(if connection.protocol.is_multiplexed() {
                SentMeaning::Frame(None)
            } else {
                SentMeaning::Answer(goid)
            });
        }
        if !connection.protocol.is_multiplexed() && connection.is_sibling(by) {
            return Some(SentMeaning::Frame(self.correct_server(socket.id)));
        }
        let mistaken = connection
            .is_child(by)
            .then(|| connection.learn(Sign::ChildWrites))
            .flatten();
        let is_multiplexed = connection.protocol.is_multiplexed();
        is_multiplexed.then_some(SentMeaning::Frame(mistaken))
    }

    /// Of a connection that was established before the trace, a reader or writer of frames was seen first and taken for its
    /// server, which is that one's parent. Returns the goroutine that was mistaken.
    fn correct_server(&mut self, id: SocketId) -> Option<u64> {
        let connection = self.connections.get_mut(&id)?;
        connection.learn(Sign::Streams);
        let mistaken = std::mem::replace(&mut connection.server, connection.parent.take())?;
        self.served.remove(&mistaken);
        if let Some(server) = connection.server {
            self.served.insert(server, id);
        }
        Some(mistaken)
    }

    /// Records were lost: a request may have come, and another one been answered.
    pub(crate) fn forget_received(&mut self) {
        for connection in self.connections.values_mut() {
            connection.received = 0;
            connection.receives.clear();
        }
    }

    /// The connection is gone.
    pub(crate) fn closed(&mut self, id: SocketId) {
        if let Some(server) = self.connections.remove(&id).and_then(|c| c.server) {
            self.served.remove(&server);
        }
    }
}

impl ClientConnection {
    fn is_served_by(&mut self, by: Actor) -> bool {
        if self.server.is_none() {
            self.server = by.goid;
            self.parent = by.parent;
        }
        self.server == by.goid
    }

    /// Whether this goroutine and the supposed server are both children of the true one. In HTTP/1.1 the server's parent
    /// accepts connections, and its other children have their own.
    fn is_sibling(&self, by: Actor) -> bool {
        self.parent.is_some() && by.parent == self.parent
    }

    fn is_child(&self, by: Actor) -> bool {
        self.server.is_some() && by.parent == self.server
    }

    /// Returns the server if the connection is now known to be multiplexed: what seemed to be its request was the
    /// connection's preface.
    fn learn(&mut self, sign: Sign) -> Option<u64> {
        let was_multiplexed = self.protocol.is_multiplexed();
        self.protocol = self.protocol.after(sign);
        let is_news = self.protocol.is_multiplexed() && !was_multiplexed;
        is_news.then_some(self.server)?
    }

    fn add_frame(&mut self, at: Nanos, bytes: u64) {
        if bytes > MAX_CONTROL_FRAME {
            push_bounded(&mut self.frames, at);
        }
    }

    /// When a request of this multiplexed connection began, at the earliest and at the latest, that entered the broker
    /// between these times. Before its second entry it was there already.
    pub(crate) fn start_of_stream(
        &self,
        (from, to): (Nanos, Nanos),
        phase: Option<Phase>,
    ) -> (Nanos, Nanos) {
        let mut received = self.receives.iter().filter(|at| (from..=to).contains(*at));
        let (first, last) = (received.next(), received.next_back());
        match (first, last) {
            _ if phase == Some(Phase::Response) => (from, to),
            (Some(first), last) => (*first, *last.unwrap_or(first)),
            (None, _) => (from, to),
        }
    }

    /// When what came last before this time began to come, and when it had come: since the frame before it that may be an answer.
    pub(crate) fn last_received_before(&self, at: Nanos) -> Option<(Nanos, Nanos)> {
        let last = *self.receives.iter().rfind(|received| **received <= at)?;
        let sent = self.frames.iter().rfind(|sent| **sent <= last);
        let mut received = self.receives.iter();
        let first = received.find(|received| sent.is_none_or(|sent| *received > sent));
        Some((first.copied().unwrap_or(last).min(last), last))
    }

    /// When the first frame was sent after this time that may be an answer.
    pub(crate) fn first_frame_after(&self, at: Nanos) -> Option<Nanos> {
        self.frames.iter().find(|sent| **sent > at).copied()
    }
}

fn push_bounded(times: &mut VecDeque<Nanos>, at: Nanos) {
    if times.len() == MAX_FRAMES {
        times.pop_front();
    }
    times.push_back(at);
}

#[cfg(test)]
mod tests;

//! What happens on the connections from clients, and which requests begin and end by it.

use std::{mem, net::SocketAddr};

use tracer_model::{
    Actor, Attribution, Event, EventKind, Nanos, Phase, Socket, SocketId, TcpState,
};

use crate::{
    diagnose::phases,
    request::{
        lifecycle::{Signal, Stage},
        request::Request,
        table::Requests,
    },
    track::client_connection::{ReceivedMeaning, SentMeaning},
};

impl Requests {
    /// Takes what happens on connections from clients.
    pub(crate) fn observe(&mut self, event: &Event) {
        let at = event.at;
        match &event.what {
            EventKind::Receive {
                socket,
                by,
                bytes,
                handshake,
            } if *bytes > 0 => self.received(at, socket, *by, (*bytes, *handshake)),
            EventKind::Send {
                socket,
                by,
                status,
                result,
                ..
            } if socket.accepted => self.sent(at, socket, *by, (*status, *result)),
            EventKind::State {
                socket, by, new, ..
            } if socket.accepted => self.connection_closes(at, socket.id, *by, *new),
            _ => {}
        }
    }

    fn received(&mut self, at: Nanos, socket: &Socket, by: Actor, what: (u64, bool)) {
        self.correct_child(socket.id, by);
        match self.connections.received(at, socket, by, what) {
            ReceivedMeaning::Request(goid) => self.begin(at, goid, socket),
            ReceivedMeaning::Multiplexed(server) => self.forget(server),
            ReceivedMeaning::Nothing => {}
        }
    }

    /// What the child seemed to begin is a request of its parent.
    fn correct_child(&mut self, id: SocketId, by: Actor) {
        let child = self.connections.correct_child(id, by);
        let (Some(child), Some(goid)) = (child, by.goid) else {
            return;
        };
        if self.works.contains_key(&goid) {
            self.forget(child);
            return;
        }
        let Some(seq) = self.works.remove(&child) else {
            return;
        };
        if let Some(request) = self.open.get_mut(&seq) {
            request.goid = Some(goid);
            request.goroutines = vec![goid];
            self.works.insert(goid, seq);
        }
    }

    fn begin(&mut self, at: Nanos, goid: u64, socket: &Socket) {
        if let Some(seq) = self.works.get(&goid).copied() {
            self.finish(seq, Signal::ActsAgain, at);
        }
        if !self.works.contains_key(&goid) {
            self.add(at, goid).begin_seen = true;
        }
        self.set_client(goid, socket.remote);
    }

    /// The goroutine serves this client's connection, and works on a request of it. Its children that dial were not seen to
    /// be no streams before.
    pub(super) fn set_client(
        &mut self,
        goid: u64,
        client: Option<SocketAddr>,
    ) -> Option<&mut Request> {
        let seq = *self.works.get(&goid)?;
        for child in self.connections.take_children_of(goid) {
            let of_child = self.works.get(&child).copied();
            let of_child = of_child.filter(|of_child| *of_child != seq);
            if let Some(part) = of_child.and_then(|of_child| self.open.remove(&of_child)) {
                self.take_over(seq, *part, Attribution::Goroutine);
            }
        }
        let doubt_until = self.doubt_until;
        let request = self.open.get_mut(&seq)?;
        request.attribution = Some(Attribution::Goroutine);
        let is_new = request.stage == Stage::Unattributed;
        request.signal(Signal::ClientKnown);
        if is_new && request.start <= doubt_until {
            request.signal(Signal::RecordsLost);
        }
        if request.client != client {
            let port = |client: SocketAddr| (client.port(), request.seq);
            if let Some(before) = request.client.map(port) {
                self.ports.remove(&before);
            }
            self.ports
                .extend(client.map(port).filter(|_| !request.is_stream));
            request.client = client;
        }
        Some(request)
    }

    fn sent(
        &mut self,
        at: Nanos,
        socket: &Socket,
        by: Actor,
        (status, result): (Option<u16>, i64),
    ) {
        // `100 Continue` asks for the rest of the request.
        if status.is_some_and(|status| status < 200) {
            return;
        }
        self.correct_child(socket.id, by);
        let bytes = u64::try_from(result).unwrap_or(0);
        match self.connections.sent(at, socket, by, (bytes, result < 0)) {
            Some(SentMeaning::Answer(goid)) => self.answered(at, goid, socket, status),
            Some(SentMeaning::Frame(mistaken)) => {
                if let Some(goid) = mistaken {
                    self.forget(goid);
                }
                self.frame_sent(at, socket.id);
            }
            None => {}
        }
    }

    fn answered(&mut self, at: Nanos, goid: u64, socket: &Socket, status: Option<u16>) {
        let Some(request) = self.set_client(goid, socket.remote) else {
            return;
        };
        if request.stage != Stage::InDoubt {
            request.status = status;
        }
        let seq = request.seq;
        self.finish(seq, Signal::Answered, at);
    }

    /// Something was sent on a multiplexed connection: the answers of those that have both their entries behind them.
    fn frame_sent(&mut self, at: Nanos, id: SocketId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let mut active = mem::take(&mut connection.active_streams);
        active.retain(|goid| {
            let seq = self.works.get(goid);
            let request = seq.and_then(|seq| self.open.get(seq));
            request.is_some_and(|request| {
                !request.has_open_operations()
                    && request.open_waits().next().is_none()
                    && phases::has_written_both_entries(&request.operations)
                    && !request.stays.is_inside()
                    && !request.is_forwarded()
                    && (request.phase_in_broker != Some(Phase::Request)
                        || request.operations.iter().any(phases::is_about_the_answer))
            })
        });
        let left = self
            .open
            .values()
            .filter(|r| r.is_stream_of(id) && r.has_left_for_answer());
        active.extend(left.filter_map(|request| request.goid));
        for goid in active {
            if let Some(seq) = self.works.get(&goid).copied() {
                self.finish(seq, Signal::Answered, at);
            }
        }
    }

    /// The server closes a client's connection, or it is gone.
    fn connection_closes(&mut self, at: Nanos, id: SocketId, by: Option<Actor>, new: TcpState) {
        match new {
            // Without an answer: the client has gone, and the handler has returned.
            TcpState::FinWait1 | TcpState::LastAck => {
                let goid = by.and_then(|by| by.goid);
                let goid = goid.filter(|goid| self.connections.served_by(*goid).is_some());
                if let Some(seq) = goid.and_then(|goid| self.works.get(&goid).copied()) {
                    self.finish(seq, Signal::ClientClosed, at);
                }
            }
            TcpState::CloseWait => self.client_leaves(at, id),
            TcpState::Close => {
                self.client_leaves(at, id);
                self.last_stream_answered(id);
                self.keep_frames_to_streams(id);
                self.connections.closed(id);
            }
            _ => {}
        }
    }

    /// The client has closed its end, or the connection is gone: whoever still works for it, works for nobody.
    fn client_leaves(&mut self, at: Nanos, id: SocketId) {
        let of_connection = |request: &Request| {
            let own = request
                .goid
                .and_then(|goid| self.connections.id_served_by(goid));
            request.is_stream_of(id) || own == Some(id)
        };
        let leaving = self.all().filter(|request| of_connection(request));
        for seq in leaving.map(|request| request.seq).collect::<Vec<_>>() {
            if let Some(request) = self.get_mut(seq) {
                request.client_gone.get_or_insert(at);
            }
        }
    }

    /// The connection is gone, and with it the frames that are remembered of it.
    fn last_stream_answered(&mut self, id: SocketId) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        if !connection.protocol.is_multiplexed() {
            return;
        }
        let mut streams = self.all().filter(|r| r.is_stream_of(id));
        let (Some(request), None) = (streams.next(), streams.next()) else {
            return;
        };
        let seq = request.seq;
        let last_in_broker = request.last_in_broker;
        let frame = last_in_broker.and_then(|last| connection.first_frame_after(last));
        drop(streams);
        if let Some(frame) = frame {
            self.finish(seq, Signal::Answered, frame);
        }
    }

    /// The same where several streams were under way: which of them was answered, the next sample says.
    fn keep_frames_to_streams(&mut self, id: SocketId) {
        let streams = self.all().filter(|request| request.is_stream_of(id));
        for seq in streams.map(|request| request.seq).collect::<Vec<_>>() {
            let frame = self.frame_to(seq);
            if let Some(request) = self.get_mut(seq) {
                request.last_frame_to_it = frame;
            }
        }
    }
}

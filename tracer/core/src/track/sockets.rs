//! The sockets that the server opened: system calls and state changes in, operations out.
//!
//! A Go stall is no long system call: `write()` returns `EAGAIN` (or a short count) and `connect()`
//! `EINPROGRESS` at once, the goroutine parks, and the next sign is a further write, a state change
//! or the socket's close (`internal/poll/fd_unix.go`, `net/fd_unix.go`).

use rustc_hash::FxHashMap;

use tracer_model::{
    Actor, Device, Dropped, EntryHead, Event, EventKind, FillingBuffer, LostEntries, Nanos, Op,
    Operation, Outcome, Socket, SocketId, TcpState, Transport,
};

use crate::track::{
    connection::{Connection, Ending, SocketWait},
    identities::Identities,
    packet_marks::Mark,
    socket_events::{Sent, StateChange, errno},
};

/// What became of it.
#[derive(Debug)]
pub(crate) enum Change {
    /// Somebody waits for a device now.
    Began(Box<Began>),
    /// The waiting is over.
    Ended(Box<Operation>),
    /// Done, well or badly, without waiting.
    Done(Box<Operation>),
    /// A connection fills up.
    Filling(FillingBuffer),
}

/// A wait that begins.
#[derive(Debug)]
pub(crate) struct Began {
    pub(crate) by: Actor,
    pub(crate) device: Device,
    pub(crate) op: Op,
    pub(crate) entry: Option<EntryHead>,
}

/// Sockets that the server opened, as far as something is going on with them.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    pub(super) open: FxHashMap<SocketId, Connection>,
    /// Who waits for which.
    pub(super) waiting: FxHashMap<u64, SocketId>,
    /// The connection attempt that ended last, if its state shows no error: where `connect()` itself failed, that is said next.
    pub(super) unexplained: Option<Box<Operation>>,
    /// Whether this kernel shows TCP's view of a connection: without, no loss can be reported.
    pub(super) shows_tcp: bool,
    /// Until when records may have been lost, if any were.
    pub(super) lost_until: Option<Nanos>,
}

impl Sockets {
    /// Takes what happened; adds what became of operations by it.
    pub(crate) fn observe(
        &mut self,
        event: &Event,
        identities: &Identities,
        changes: &mut Vec<Change>,
    ) {
        changes.extend(self.end_wait_elsewhere(event).map(Change::Ended));
        if let Some(sent) = Sent::of(event) {
            self.shows_tcp |= sent.tcp.is_some();
            changes.extend(self.end_wait_of_previous_writer(&sent).map(Change::Ended));
            changes.extend(self.end_wait_in_doubt(&sent).map(Change::Ended));
            changes.extend(self.end_wait_of_previous_entry(&sent).map(Change::Ended));
            if let Some(entry) = sent.entry.filter(|entry| entry.over_http) {
                self.connection(sent.socket).unanswered = Some((sent.by, entry.clone()));
            }
            changes.extend(self.sent(&sent, identities));
            changes.extend(self.account(&sent, identities));
        } else if let Some(change) = StateChange::of(event) {
            self.shows_tcp |= change.tcp.is_some();
            changes.extend(self.operation_of(&change, identities));
            self.track_close(&change);
        } else if let EventKind::ConnectFailed { socket, by, errno } = &event.what {
            let by = (identities.of(socket), *by);
            changes.extend(self.connect_failed(event.at, socket.id, by, *errno));
        } else if let EventKind::Rejected { socket, status } = &event.what {
            changes.extend(self.rejected(event.at, socket, *status, identities));
        } else {
            self.packet(event);
        }
    }

    /// Takes an entry that its request has done with.
    pub(crate) fn observe_buffered_write(&mut self, event: &Event, identities: &Identities) {
        if let Some(sent) = Sent::buffered(event) {
            self.shows_tcp |= sent.tcp.is_some();
            self.account(&sent, identities);
        }
    }

    /// Remembers what happened to a packet.
    fn packet(&mut self, event: &Event) {
        match &event.what {
            EventKind::SocketError { socket, errno, .. } => {
                self.mark(event.at, socket, |_| Mark::Error(*errno));
            }
            EventKind::Reset { socket } => self.mark(event.at, socket, |_| Mark::Reset),
            EventKind::Retransmit { socket } => {
                self.mark(event.at, socket, Connection::retransmitted);
            }
            EventKind::Drop {
                socket,
                reason,
                incoming,
                beyond,
            } => self.mark(event.at, socket, |_| {
                Mark::Drop(Dropped {
                    reason: reason.clone(),
                    incoming: *incoming,
                    beyond: *beyond,
                })
            }),
            _ => {}
        }
    }

    /// Ends the trace, after a last [`Self::take_losses`]: what still waits, without an outcome and as far as is certain, and what is
    /// still to be delivered.
    pub(crate) fn end(&mut self, at: Nanos) -> (Vec<Operation>, Vec<LostEntries>) {
        let cut = |(id, connection): (&SocketId, &mut Connection)| {
            let end = Ending::cut(connection.waits_until(at));
            connection.finish(*id, end)
        };
        let mut open: Vec<_> = self.open.iter_mut().filter_map(cut).collect();
        open.sort_by_key(|operation| (operation.start, operation.socket));
        let pending = |(id, c): (&SocketId, &Connection)| Some((*id, c.pending(at)?));
        let losses = self.open.iter().filter_map(pending).collect();
        (open, in_order(losses))
    }

    /// What connections that ended since the last call never delivered. Not reported at their end: a RST
    /// can overtake the send that provokes it.
    pub(crate) fn take_losses(&mut self) -> Vec<LostEntries> {
        let gone = self
            .open
            .extract_if(|_, connection| connection.gone.is_some());
        let losses = gone.filter_map(|(id, connection)| Some((id, connection.loss()?)));
        in_order(losses.collect())
    }

    fn connection(&mut self, socket: &Socket) -> &mut Connection {
        self.open.entry(socket.id).or_default()
    }

    fn mark(&mut self, at: Nanos, socket: &Socket, mark: impl FnOnce(&Connection) -> Mark) {
        // Of others no state tells when they are gone.
        if socket.accepted || socket.transport != Transport::Tcp {
            return;
        }
        let connection = self.connection(socket);
        let mark = mark(connection);
        connection.marks.add(at, mark);
    }

    /// A goroutine that acts elsewhere waits no more. TCP sockets tell their close themselves; of
    /// Unix sockets this is the only sign.
    fn end_wait_elsewhere(&mut self, event: &Event) -> Option<Box<Operation>> {
        let (socket, by) = match &event.what {
            EventKind::Send { socket, by, .. }
            | EventKind::Receive { socket, by, .. }
            | EventKind::ConnectFailed { socket, by, .. } => (socket, *by),
            // Only the process itself begins to connect.
            EventKind::State {
                socket,
                by,
                new: TcpState::SynSent,
                ..
            } => (socket, (*by)?),
            _ => return None,
        };
        let goid = by.goid?;
        let waits_for = *self.waiting.get(&goid)?;
        // What was buffered may be told after what was not.
        let began = self.open.get(&waits_for)?.waiting.as_ref()?.start;
        if waits_for == socket.id || event.at < began {
            return None;
        }
        if self.is_in_doubt(waits_for) {
            return self.end_unseen(waits_for);
        }
        self.finish(waits_for, Ending::given_up(event.at))
    }

    /// Another goroutine writes to the socket, so who waited for it does so no more. Who tries again waited until then.
    fn end_wait_of_previous_writer(&mut self, sent: &Sent<'_>) -> Option<Box<Operation>> {
        let waiting = self.open.get_mut(&sent.socket.id)?.waiting.as_mut()?;
        let (before, by) = (waiting.by.goid?, sent.by.goid?);
        if before == by {
            waiting.seen = waiting.seen.max(sent.at);
            return None;
        }
        if waiting.transport == Transport::Tcp || waiting.missed.is_some() {
            return self.end_unseen(sent.socket.id);
        }
        self.end_given_up(sent.socket.id, sent.at)
    }

    /// Whoever waited to write an entry writes another one to the same socket, so the first was given up: a syslog device keeps
    /// its socket after a time-out.
    fn end_wait_of_previous_entry(&mut self, sent: &Sent<'_>) -> Option<Box<Operation>> {
        let waiting = self.open.get(&sent.socket.id)?.waiting.as_ref()?;
        let known = |entry: &EntryHead| Some((entry.id.clone()?, entry.kind?));
        let (before, now) = (known(waiting.entry.as_ref()?)?, known(sent.entry?)?);
        (before != now).then(|| self.finish(sent.socket.id, Ending::given_up(sent.at)))?
    }

    /// Since records were lost, the write that waited may be over, and this one be another. The entry's id tells.
    fn end_wait_in_doubt(&mut self, sent: &Sent<'_>) -> Option<Box<Operation>> {
        let connection = self.open.get_mut(&sent.socket.id)?;
        let waiting = connection.waiting.as_mut()?;
        waiting.missed?;
        let id = |entry: Option<&EntryHead>| entry.and_then(|entry| entry.id.clone());
        let (before, now) = (id(waiting.entry.as_ref()), id(sent.entry));
        if before.is_some() && before == now {
            waiting.missed = None;
            return None;
        }
        self.end_unseen(sent.socket.id)
    }

    pub(super) fn finish(&mut self, id: SocketId, end: Ending<'_>) -> Option<Box<Operation>> {
        let connection = self.open.get_mut(&id)?;
        let transport = connection.waiting.as_ref()?.transport;
        let operation = connection.finish(id, end)?;
        if let Some(goid) = operation.by.goid
            && self.waiting.get(&goid) == Some(&id)
        {
            self.waiting.remove(&goid);
        }
        if transport != Transport::Tcp {
            // Of others no state tells when they are gone.
            self.open.remove(&id);
        }
        Some(Box::new(operation))
    }

    pub(super) fn begin_wait(&mut self, socket: &Socket, waiting: SocketWait) -> Option<Change> {
        let began = Box::new(Began {
            by: waiting.by,
            device: waiting.device.clone(),
            op: waiting.op,
            entry: waiting.entry.clone(),
        });
        let connection = self.connection(socket);
        if connection.waiting.is_some() {
            return None;
        }
        connection.waiting = Some(waiting);
        if let Some(goid) = began.by.goid {
            self.waiting.insert(goid, socket.id);
        }
        Some(Change::Began(began))
    }

    fn sent(&mut self, sent: &Sent<'_>, identities: &Identities) -> Option<Change> {
        let device = || identities.of(sent.socket);
        match sent.failure() {
            None if sent.is_whole() => self.write_ended(sent, device, (Outcome::Ok, None)),
            None | Some(errno::EAGAIN) => self.write_waits(sent, device()?),
            Some(failure) => {
                let outcome = match failure {
                    errno::EPIPE | errno::ECONNRESET => Outcome::Reset,
                    errno::ETIMEDOUT => Outcome::Timeout,
                    errno::ECONNREFUSED => Outcome::Refused,
                    _ => Outcome::Error,
                };
                self.write_ended(sent, device, (outcome, Some(failure)))
            }
        }
    }

    fn write_waits(&mut self, sent: &Sent<'_>, device: Device) -> Option<Change> {
        let ack_stall = self.open.get(&sent.socket.id).map(|c| &c.ack_stall);
        let silent_since = ack_stall.zip(sent.tcp).and_then(|(s, tcp)| s.since(tcp));
        self.begin_wait(
            sent.socket,
            SocketWait {
                device,
                transport: sent.socket.transport,
                remote: sent.socket.remote,
                op: Op::Write,
                by: sent.by,
                start: sent.at,
                seen: sent.at,
                missed: None,
                entry: sent.entry.cloned(),
                begin: sent.tcp.copied(),
                silent_since,
                phase: None,
                frames: Vec::new(),
                reported: false,
            },
        )
    }

    fn write_ended(
        &mut self,
        sent: &Sent<'_>,
        device: impl Fn() -> Option<Device>,
        (outcome, errno): (Outcome, Option<i32>),
    ) -> Option<Change> {
        let end = Ending {
            at: sent.at,
            outcome: Some(outcome),
            errno,
            tcp: sent.tcp,
        };
        if let Some(operation) = self.finish(sent.socket.id, end) {
            return Some(Change::Ended(operation));
        }
        let marks = self.open.get(&sent.socket.id).map(|c| &c.marks);
        let operation = Operation {
            entry: sent.entry.cloned(),
            evidence: marks
                .filter(|_| outcome != Outcome::Ok)
                .map(|marks| marks.evidence(sent.at))
                .unwrap_or_default(),
            ..at_once(
                sent.at,
                sent.socket.id,
                (device(), sent.by),
                (Op::Write, outcome, errno),
            )?
        };
        Some(Change::Done(Box::new(operation)))
    }

    /// Keeps the books of an audit socket: one to which entries are written.
    fn account(&mut self, sent: &Sent<'_>, identities: &Identities) -> Option<Change> {
        // A failed send is the last of its socket: nothing more is to be kept of it.
        let tcp = sent.tcp.filter(|_| !sent.is_final())?;
        if sent.socket.remote.is_none() && sent.socket.path.is_none() {
            return None;
        }
        let connection = match sent.entry {
            Some(_) => self.connection(sent.socket),
            None => self.open.get_mut(&sent.socket.id)?,
        };
        connection.leads_to(sent.socket, identities);
        let device = connection.device.as_ref()?;
        let accepted = u64::try_from(sent.result).unwrap_or(0);
        connection.ledger.wrote(
            accepted,
            sent.requested,
            sent.entry.filter(|_| accepted > 0),
            tcp,
        );
        connection.ack_stall.observe(sent.at, tcp);
        let warning = sent
            .is_whole()
            .then(|| connection.ack_stall.warn(sent.at, device, tcp));
        warning.flatten().map(Change::Filling)
    }
}

/// Each trace in the same order: as they ended, and as their connections began.
fn in_order(mut losses: Vec<(SocketId, LostEntries)>) -> Vec<LostEntries> {
    losses.sort_by_key(|(id, loss)| (loss.at, *id));
    losses.into_iter().map(|(_, loss)| loss).collect()
}

/// An operation that never waited.
pub(super) fn at_once(
    at: Nanos,
    socket: SocketId,
    (device, by): (Option<Device>, Actor),
    (op, outcome, errno): (Op, Outcome, Option<i32>),
) -> Option<Operation> {
    Some(Operation {
        socket: Some(socket),
        outcome: Some(outcome),
        errno,
        ..Operation::new(op, device?, by, (at, at))
    })
}

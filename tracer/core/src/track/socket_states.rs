//! What the far end of a TCP connection does: what a change of the socket's state means for the operation that waits for it, and an
//! answer of HTTP for the entry that was sent.

use tracer_model::{
    Actor, Device, Event, EventKind, FailureReason, Nanos, Op, Operation, Outcome, Socket,
    SocketId, TcpState,
};

use crate::track::{
    connection::{Ending, SocketWait},
    identities::Identities,
    socket_events::{StateChange, errno},
    sockets::{Change, Sockets, at_once},
};

/// `connect()` fails within this time, ns, if it fails at all: the kernel may try all local ports first.
const CONNECT_CALL: Nanos = 20_000_000;

impl Sockets {
    /// An HTTP server does not take the entry that it was sent last.
    pub(super) fn rejected(
        &mut self,
        at: Nanos,
        socket: &Socket,
        status: u16,
        identities: &Identities,
    ) -> Option<Change> {
        let (by, entry) = self.open.get_mut(&socket.id)?.unanswered.take()?;
        let operation = at_once(
            at,
            socket.id,
            (identities.of(socket), by),
            (Op::Write, Outcome::Error, None),
        )?;
        Some(Change::Done(Box::new(Operation {
            entry: Some(entry),
            reported: Some(FailureReason::Status(status)),
            ..operation
        })))
    }

    /// What a change of state means for the operation that waits.
    pub(super) fn operation_of(
        &mut self,
        change: &StateChange<'_>,
        identities: &Identities,
    ) -> Option<Change> {
        let (outcome, errno) = match (change.old, change.new) {
            (_, TcpState::SynSent) => return self.connects(change, identities.of(change.socket)?),
            (TcpState::SynSent, TcpState::Established) => (Outcome::Ok, None),
            (TcpState::SynSent, _) => self.connect_outcome(change),
            (TcpState::Established | TcpState::CloseWait, closing) if is_closing(closing) => {
                if self.is_in_doubt(change.socket.id) {
                    // The write may have ended before.
                    return self.end_unseen(change.socket.id).map(Change::Ended);
                }
                self.write_outcome(change)
            }
            _ => return None,
        };
        let end = Ending {
            at: change.at,
            outcome: Some(outcome),
            errno,
            tcp: change.tcp,
        };
        let operation = self.finish(change.socket.id, end)?;
        if operation.op == Op::Connect
            && let Some(connection) = self.open.get_mut(&change.socket.id)
        {
            connection.connect_error = operation.errno;
        }
        if may_fail_yet(&operation) {
            self.unexplained = Some(operation);
            return None;
        }
        Some(Change::Ended(operation))
    }

    /// The attempt that ended last and that nothing explains, unless this event does.
    pub(crate) fn take_unexplained(&mut self, event: &Event) -> Option<Box<Operation>> {
        let failed = match &event.what {
            EventKind::ConnectFailed { socket, .. } => Some(socket.id),
            _ => None,
        };
        self.unexplained
            .take_if(|operation| operation.socket != failed)
    }

    /// `connect()` failed. Where the kernel had begun to connect, the socket's state has shown the end of the attempt by then:
    /// that is one failure.
    pub(super) fn connect_failed(
        &mut self,
        at: Nanos,
        socket: SocketId,
        by: (Option<Device>, Actor),
        errno: i32,
    ) -> Option<Change> {
        let outcome = match errno {
            errno::ECONNREFUSED => Outcome::Refused,
            errno::ETIMEDOUT => Outcome::Timeout,
            _ => Outcome::Error,
        };
        if let Some(mut operation) = self.unexplained.take() {
            operation.outcome = Some(outcome);
            operation.errno = Some(errno);
            return Some(Change::Ended(operation));
        }
        let shown = self.open.get(&socket).and_then(|c| c.connect_error);
        if outcome == Outcome::Refused || shown == Some(errno) {
            return None;
        }
        let operation = at_once(at, socket, by, (Op::Connect, outcome, Some(errno)))?;
        Some(Change::Done(Box::new(operation)))
    }

    fn connects(&mut self, change: &StateChange<'_>, device: Device) -> Option<Change> {
        let waiting = SocketWait {
            device,
            transport: change.socket.transport,
            remote: change.socket.remote,
            op: Op::Connect,
            by: change.by,
            start: change.at,
            seen: change.at,
            missed: None,
            entry: None,
            begin: None,
            silent_since: None,
            phase: None,
            frames: Vec::new(),
            reported: false,
        };
        self.begin_wait(change.socket, waiting)
    }

    /// What a change of state means for the connection and what it owes.
    pub(super) fn track_close(&mut self, change: &StateChange<'_>) {
        if matches!(change.new, TcpState::FinWait1 | TcpState::LastAck)
            && let Some(connection) = self.open.get_mut(&change.socket.id)
        {
            connection.ledger.closed(change.at, change.tcp);
            connection.ends = change.socket.local.zip(change.socket.remote);
        }
        if change.new == TcpState::Close
            && let Some(connection) = self.open.get_mut(&change.socket.id)
        {
            connection.gone = Some((change.at, change.tcp.copied()));
        }
    }

    /// A connection that closes while in `SYN_SENT`: by the peer's host, by the kernel's own
    /// time-out, or, with no error pending, by the server that gave up.
    fn connect_outcome(&self, change: &StateChange<'_>) -> (Outcome, Option<i32>) {
        match change.errno {
            errno::ECONNREFUSED => (Outcome::Refused, Some(errno::ECONNREFUSED)),
            0 if self.was_reset(change) => (Outcome::Refused, Some(errno::ECONNREFUSED)),
            0 if self.error(change).is_some() => self.reported(change),
            0 => (Outcome::Timeout, Some(errno::EINPROGRESS)),
            errno::ETIMEDOUT => (Outcome::Timeout, Some(errno::ETIMEDOUT)),
            other => (Outcome::Error, Some(other)),
        }
    }

    /// A connection that closes while a write waits.
    fn write_outcome(&self, change: &StateChange<'_>) -> (Outcome, Option<i32>) {
        match change.errno {
            _ if self.was_reset(change) => (Outcome::Reset, Some(errno::ECONNRESET)),
            0 => (Outcome::Timeout, Some(errno::EAGAIN)),
            errno::ETIMEDOUT => (Outcome::Timeout, Some(errno::ETIMEDOUT)),
            other => (Outcome::Error, Some(other)),
        }
    }

    /// An error that ICMP brought, and that the server has fetched before the state change.
    fn reported(&self, change: &StateChange<'_>) -> (Outcome, Option<i32>) {
        match self.error(change) {
            Some(errno::ECONNREFUSED) => (Outcome::Refused, Some(errno::ECONNREFUSED)),
            error => (Outcome::Error, error.filter(|errno| *errno != 0)),
        }
    }

    fn error(&self, change: &StateChange<'_>) -> Option<i32> {
        self.open.get(&change.socket.id)?.marks.error()
    }

    fn was_reset(&self, change: &StateChange<'_>) -> bool {
        let connection = self.open.get(&change.socket.id);
        connection.is_some_and(|connection| connection.marks.reset())
    }
}

/// Whether it may be `connect()` itself that failed, rather than the server that gave up: the state shows no error of either.
fn may_fail_yet(operation: &Operation) -> bool {
    operation.op == Op::Connect
        && operation.errno == Some(errno::EINPROGRESS)
        && operation.duration() < CONNECT_CALL
}

/// States that only the process itself, or an error, leads to from an established connection.
fn is_closing(state: TcpState) -> bool {
    matches!(
        state,
        TcpState::FinWait1 | TcpState::LastAck | TcpState::Close
    )
}

//! The sockets that the server opened: system calls and state changes in, operations out.
//!
//! A Go stall is no long system call: `write()` returns `EAGAIN` (or a short count) and `connect()`
//! `EINPROGRESS` at once, the goroutine parks, and the next sign is a further write, a state change
//! or the socket's close (`internal/poll/fd_unix.go`, `net/fd_unix.go`).

use std::collections::{HashMap, VecDeque};

use super::operation::{Evidence, Op, Operation, Outcome};
use crate::{
    audit::entry::EntryHead,
    event::{Actor, Device, Event, Nanos, Socket, SocketId, TcpState, What},
};

/// `include/uapi/asm-generic/errno*.h`, as far as operations are told apart by them.
mod errno {
    pub(super) const EAGAIN: i32 = 11;
    pub(super) const EPIPE: i32 = 32;
    pub(super) const ECONNRESET: i32 = 104;
    pub(super) const ETIMEDOUT: i32 = 110;
    pub(super) const ECONNREFUSED: i32 = 111;
    pub(super) const EINPROGRESS: i32 = 115;
}

/// A write that meets a full buffer was doomed earlier: what happened to the socket's packets this
/// long before it began to wait, ns, still says why. TCP's back-off has reached several seconds by then.
const LOOK_BACK: Nanos = 10_000_000_000;

/// Marks kept per socket; with back-off, many minutes of them.
const MARKS: usize = 64;

/// What became of an operation.
#[derive(Debug)]
pub enum Change {
    /// Somebody waits now.
    Began(Actor),
    /// The waiting is over.
    Ended(Box<Operation>),
    /// Done, well or badly, without waiting.
    Done(Box<Operation>),
}

/// Sockets that the server opened, as far as something is going on with them.
#[derive(Debug, Default)]
pub struct Sockets {
    open: HashMap<SocketId, Connection>,
}

#[derive(Debug, Default)]
struct Connection {
    waiting: Option<Waiting>,
    reset: bool,
    marks: VecDeque<(Nanos, Mark)>,
}

#[derive(Debug)]
struct Waiting {
    device: Device,
    op: Op,
    by: Actor,
    start: Nanos,
    entry: Option<EntryHead>,
}

#[derive(Debug)]
enum Mark {
    SynRetransmit,
    Retransmit,
    Drop(String),
}

impl Sockets {
    /// Takes what happened; says what became of an operation by it.
    pub fn on(&mut self, event: &Event) -> Option<Change> {
        match &event.what {
            What::Send {
                socket,
                by,
                result,
                requested,
                entry,
            } if !socket.accepted => self.sent(event.at, socket, *by, (*result, *requested), entry),
            What::State {
                socket,
                by,
                old,
                new,
                errno,
            } if !socket.accepted => self.state(event.at, socket, *by, (*old, *new), *errno),
            What::ConnectFailed { socket, by, errno } => {
                self.connect_failed(event.at, socket, *by, *errno)
            }
            What::Reset { socket } if !socket.accepted => {
                self.connection(socket).reset = true;
                None
            }
            What::Retransmit { socket } if !socket.accepted => {
                let connection = self.connection(socket);
                let mark = connection.retransmitted();
                connection.mark(event.at, mark);
                None
            }
            What::Drop { socket, reason } if !socket.accepted => {
                self.connection(socket)
                    .mark(event.at, Mark::Drop(reason.clone()));
                None
            }
            _ => None,
        }
    }

    /// Ends the trace: what still waits, without an outcome.
    pub fn end(&mut self, at: Nanos) -> Vec<Operation> {
        let mut open: Vec<_> = self
            .open
            .iter_mut()
            .filter_map(|(id, connection)| connection.finish(*id, at, None, None))
            .collect();
        open.sort_by_key(|operation| (operation.start, operation.socket));
        open
    }

    fn connection(&mut self, socket: &Socket) -> &mut Connection {
        self.open.entry(socket.id).or_default()
    }

    fn sent(
        &mut self,
        at: Nanos,
        socket: &Socket,
        by: Actor,
        (result, requested): (i64, Option<u64>),
        entry: &Option<EntryHead>,
    ) -> Option<Change> {
        let errno = i32::try_from(-result).ok().filter(|errno| *errno > 0);
        match errno {
            None if requested.is_none_or(|wanted| result as u64 >= wanted) => {
                self.write_ended(at, socket, by, (Outcome::Ok, None), entry)
            }
            None | Some(errno::EAGAIN) => self.write_waits(at, socket, by, entry),
            Some(failure) => {
                let outcome = match failure {
                    errno::EPIPE | errno::ECONNRESET => Outcome::Reset,
                    errno::ETIMEDOUT => Outcome::Timeout,
                    errno::ECONNREFUSED => Outcome::Refused,
                    _ => Outcome::Error,
                };
                self.write_ended(at, socket, by, (outcome, errno), entry)
            }
        }
    }

    fn write_waits(
        &mut self,
        at: Nanos,
        socket: &Socket,
        by: Actor,
        entry: &Option<EntryHead>,
    ) -> Option<Change> {
        let device = Device::of(socket)?;
        let connection = self.connection(socket);
        if connection.waiting.is_some() {
            return None;
        }
        connection.waiting = Some(Waiting {
            device,
            op: Op::Write,
            by,
            start: at,
            entry: entry.clone(),
        });
        Some(Change::Began(by))
    }

    fn write_ended(
        &mut self,
        at: Nanos,
        socket: &Socket,
        by: Actor,
        (outcome, errno): (Outcome, Option<i32>),
        entry: &Option<EntryHead>,
    ) -> Option<Change> {
        let waited = self
            .open
            .get_mut(&socket.id)
            .and_then(|connection| connection.finish(socket.id, at, Some(outcome), errno));
        if let Some(operation) = waited {
            return Some(Change::Ended(Box::new(operation)));
        }
        let operation = Operation {
            entry: entry.clone(),
            ..at_once(at, socket, by, (Op::Write, outcome, errno))?
        };
        Some(Change::Done(Box::new(operation)))
    }

    fn state(
        &mut self,
        at: Nanos,
        socket: &Socket,
        by: Option<Actor>,
        (old, new): (TcpState, TcpState),
        errno: i32,
    ) -> Option<Change> {
        let change = match (old, new) {
            (_, TcpState::SynSent) => self.connects(at, socket, by.unwrap_or_default()),
            (TcpState::SynSent, TcpState::Established) => self.ended(at, socket, Outcome::Ok, None),
            (TcpState::SynSent, _) => {
                let (outcome, errno) = self.connect_outcome(socket, errno);
                self.ended(at, socket, outcome, errno)
            }
            (TcpState::Established | TcpState::CloseWait, closing) if is_closing(closing) => {
                let (outcome, errno) = self.write_outcome(socket, errno);
                self.ended(at, socket, outcome, errno)
            }
            _ => None,
        };
        if new == TcpState::Close {
            self.open.remove(&socket.id);
        }
        change
    }

    fn connects(&mut self, at: Nanos, socket: &Socket, by: Actor) -> Option<Change> {
        let device = Device::of(socket)?;
        self.connection(socket).waiting = Some(Waiting {
            device,
            op: Op::Connect,
            by,
            start: at,
            entry: None,
        });
        Some(Change::Began(by))
    }

    fn ended(
        &mut self,
        at: Nanos,
        socket: &Socket,
        outcome: Outcome,
        errno: Option<i32>,
    ) -> Option<Change> {
        let connection = self.open.get_mut(&socket.id)?;
        let operation = connection.finish(socket.id, at, Some(outcome), errno)?;
        Some(Change::Ended(Box::new(operation)))
    }

    /// A connection that closes while in `SYN_SENT`: by the peer's host, by the kernel's own
    /// time-out, or, with no error pending, by the server that gave up.
    fn connect_outcome(&self, socket: &Socket, errno: i32) -> (Outcome, Option<i32>) {
        match errno {
            errno::ECONNREFUSED => (Outcome::Refused, Some(errno)),
            0 if self.was_reset(socket) => (Outcome::Refused, Some(errno::ECONNREFUSED)),
            0 => (Outcome::Timeout, Some(errno::EINPROGRESS)),
            errno::ETIMEDOUT => (Outcome::Timeout, Some(errno)),
            _ => (Outcome::Error, Some(errno)),
        }
    }

    /// A connection that closes while a write waits.
    fn write_outcome(&self, socket: &Socket, errno: i32) -> (Outcome, Option<i32>) {
        match errno {
            _ if self.was_reset(socket) => (Outcome::Reset, Some(errno::ECONNRESET)),
            0 => (Outcome::Timeout, Some(errno::EAGAIN)),
            errno::ETIMEDOUT => (Outcome::Timeout, Some(errno)),
            _ => (Outcome::Error, Some(errno)),
        }
    }

    fn was_reset(&self, socket: &Socket) -> bool {
        self.open.get(&socket.id).is_some_and(|c| c.reset)
    }

    /// A connect that failed before it was under way. One whose failure the socket's state has
    /// told already is over, and is not told twice.
    fn connect_failed(
        &mut self,
        at: Nanos,
        socket: &Socket,
        by: Actor,
        errno: i32,
    ) -> Option<Change> {
        let outcome = match errno {
            errno::ECONNREFUSED => return None,
            errno::ETIMEDOUT => Outcome::Timeout,
            _ => Outcome::Error,
        };
        let operation = at_once(at, socket, by, (Op::Connect, outcome, Some(errno)))?;
        Some(Change::Done(Box::new(operation)))
    }
}

/// An operation that never waited.
fn at_once(
    at: Nanos,
    socket: &Socket,
    by: Actor,
    (op, outcome, errno): (Op, Outcome, Option<i32>),
) -> Option<Operation> {
    Some(Operation {
        socket: socket.id,
        device: Device::of(socket)?,
        op,
        by,
        start: at,
        end: at,
        outcome: Some(outcome),
        errno,
        evidence: Evidence::default(),
        entry: None,
    })
}

/// States that only the process itself, or an error, leads to from an established connection.
fn is_closing(state: TcpState) -> bool {
    matches!(
        state,
        TcpState::FinWait1 | TcpState::LastAck | TcpState::Close
    )
}

impl Connection {
    fn mark(&mut self, at: Nanos, mark: Mark) {
        if self.marks.len() == MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back((at, mark));
    }

    fn retransmitted(&self) -> Mark {
        match self.waiting {
            Some(Waiting {
                op: Op::Connect, ..
            }) => Mark::SynRetransmit,
            _ => Mark::Retransmit,
        }
    }

    fn finish(
        &mut self,
        socket: SocketId,
        at: Nanos,
        outcome: Option<Outcome>,
        errno: Option<i32>,
    ) -> Option<Operation> {
        let waiting = self.waiting.take()?;
        Some(Operation {
            evidence: self.evidence(waiting.start.saturating_sub(LOOK_BACK)),
            socket,
            device: waiting.device,
            op: waiting.op,
            by: waiting.by,
            start: waiting.start,
            end: at,
            outcome,
            errno,
            entry: waiting.entry,
        })
    }

    fn evidence(&self, since: Nanos) -> Evidence {
        let mut evidence = Evidence::default();
        for (_, mark) in self.marks.iter().filter(|(at, _)| *at >= since) {
            match mark {
                Mark::SynRetransmit => evidence.syn_retransmits += 1,
                Mark::Retransmit => evidence.retransmits += 1,
                Mark::Drop(reason) => *evidence.drops.entry(reason.clone()).or_default() += 1,
            }
        }
        evidence
    }
}

//! One operation of the server on a socket it opened: a connect or a write, from its first sign of
//! waiting to its outcome.

use crate::{
    actor::Actor, cause::Cause, device::Device, device_failure::FailureReason, entry::EntryHead,
    evidence::Evidence, phase::Phase, request::RequestSeq, socket::SocketId, time::Nanos,
};

/// What was asked of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A TCP connection.
    Connect,
    /// One entry, in as many system calls as it took.
    Write,
    /// The device's lock, while another request was stalled in it.
    Lock,
    /// The address of the device's name, to connect to.
    Resolve,
}

impl Op {
    /// As the trace spells it.
    pub fn name(self) -> &'static str {
        match self {
            // A look-up is part of the dial.
            Op::Connect | Op::Resolve => "connect",
            Op::Write => "write",
            Op::Lock => "lock",
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Ok,
    /// The server gave up waiting and closed the socket, or TCP itself timed out.
    Timeout,
    /// The peer's host refused the connection.
    Refused,
    /// The peer reset the connection.
    Reset,
    /// Another error.
    Error,
}

impl Outcome {
    /// Whether it came to nothing.
    pub fn is_failure(self) -> bool {
        self != Outcome::Ok
    }

    /// As the trace spells it.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Timeout => "timeout",
            Outcome::Refused => "refused",
            Outcome::Reset => "reset",
            Outcome::Error => "error",
        }
    }
}

/// A connect or a write.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// The socket, where there was one.
    pub socket: Option<SocketId>,
    /// Where it leads.
    pub device: Device,
    /// What was asked.
    pub op: Op,
    /// Who asked.
    pub by: Actor,
    /// First sign of waiting; for what never waited, when it was done.
    pub start: Nanos,
    /// When it ended; for one that never did, when the trace ended.
    pub end: Nanos,
    /// How it ended; `None` where the trace ended first.
    pub outcome: Option<Outcome>,
    /// The error of the last system call or the socket, a positive errno.
    pub errno: Option<i32>,
    /// What the server says of it in its log. No system call of it may have been seen.
    pub reported: Option<FailureReason>,
    /// The longest that the server may have waited for this device before it gave up an attempt, in or before this one, ns. One
    /// that was given up sooner was not ended by the device's own time-out, but by the limit of its entry.
    pub patience: Nanos,
    /// What was seen of the network during it.
    pub evidence: Evidence,
    /// The audit entry that was being written, where it was seen.
    pub entry: Option<EntryHead>,
    /// For which entry, where the goroutine's stack shows it.
    pub phase: Option<Phase>,
    /// By how much its duration may be off, ns, where its beginning or end lies between two samples.
    pub uncertainty: Nanos,
    /// Of a wait for the lock: who was in the device.
    pub blocked_by: Option<RequestSeq>,
    /// And why that one was stalled.
    pub holder_cause: Option<Cause>,
    /// Whether no stack showed it: see [`super::finding::Stall::inferred`].
    pub inferred: bool,
}

impl Operation {
    /// One of which no more is known: not how it ended, nor what shows why.
    pub fn new(op: Op, device: Device, by: Actor, (start, end): (Nanos, Nanos)) -> Self {
        Self {
            socket: None,
            device,
            op,
            by,
            start,
            end,
            outcome: None,
            errno: None,
            reported: None,
            patience: 0,
            evidence: Evidence::default(),
            entry: None,
            phase: None,
            uncertainty: 0,
            blocked_by: None,
            holder_cause: None,
            inferred: false,
        }
    }

    /// How long the server waited, ns.
    pub fn duration(&self) -> Nanos {
        self.end.saturating_sub(self.start)
    }

    /// Whether it came to nothing.
    pub fn failed(&self) -> bool {
        self.outcome.is_some_and(Outcome::is_failure)
    }
}

//! The plain data of vault-tracer: what is observed ([`Event`]) and what is reported ([`Finding`]).
//!
//! Nothing here decides anything. The probes' records become events, `tracer-core` turns events into findings, and
//! the agent writes findings.

mod cause;
mod device;
mod entry;
mod event;
mod evidence;
mod finding;
mod goroutine;
mod operation;
mod request;
mod snapshot;
mod socket;

pub use self::{
    cause::Cause,
    device::{Device, Transport, canonical},
    entry::{EntryHead, EntryKind},
    event::{
        Actor, BufferedTotals, EntryQuery, Event, EventKind, FORMAT, Nanos, Probe, Session,
        took_all,
    },
    evidence::{DropKind, Dropped, Drops, Evidence},
    finding::{
        Ended, FillingBuffer, Finding, Hang, Incident, LossTotals, LostEntries, NEGLIGIBLE_WAIT,
        Refusal, RequestInfo, Stall, Stalled, Summary,
    },
    goroutine::{GoroutineSample, HandlerSample, WaitReason},
    operation::{Op, Operation, Outcome, Phase},
    request::{Attribution, RequestSeq},
    snapshot::{Condition, DeviceSnapshot, OpenStall, SendBuffer, Snapshot},
    socket::{SendQueue, Socket, SocketId, Tcp, TcpState},
};

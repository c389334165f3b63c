//! The plain data of vault-tracer: what is observed ([`Event`]) and what is reported ([`Finding`]).
//!
//! Nothing here decides anything. The probes' records become events, `tracer-core` turns events into findings, and
//! the agent writes findings.

mod actor;
mod cause;
mod device;
mod device_failure;
mod entry;
mod entry_query;
mod event;
mod event_entries;
mod evidence;
mod finding;
mod goroutine;
mod operation;
mod phase;
mod request;
mod snapshot;
mod socket;
mod summary;
mod time;
mod transport;

pub use self::{
    actor::Actor,
    cause::Cause,
    device::{ConfiguredDevice, Device, SYSLOG_SOCKETS, canonical},
    device_failure::{DeviceFailure, FailedLookup, FailureReason, NameAnswer},
    entry::{EntryHead, EntryKind},
    entry_query::EntryQuery,
    event::{BufferedTotals, Event, EventKind, FORMAT, Probe, Session, took_all},
    evidence::{DropKind, Dropped, Drops, Evidence},
    finding::{
        Ended, FillingBuffer, Finding, Forwarded, Hang, Incident, LossTotals, LostEntries,
        NEGLIGIBLE_WAIT, Refusal, Stall, Stalled, UntakenEntries,
    },
    goroutine::{ForwardedSample, GoroutineSample, HandlerSample, WaitReason},
    operation::{Op, Operation, Outcome},
    phase::Phase,
    request::{Attribution, RequestInfo, RequestSeq},
    snapshot::{Condition, DeviceSnapshot, OpenStall, SendBuffer, Snapshot},
    socket::{SendQueue, Socket, SocketId, Tcp, TcpState},
    summary::Summary,
    time::Nanos,
    transport::{AddressKind, Transport},
};

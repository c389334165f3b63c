//! The records of a trace, in the order of their fields.
//!
//! `T` is the type of their text: `String`, or [`BorrowedText`](crate::BorrowedText) for a reader that only counts.
//! `E` is what a reader makes of a stall's evidence: [`Evidence`], a map that keeps what later versions write, or
//! [`serde::de::IgnoredAny`].
//!
//! A field that may be absent is `None` or `false`, and then is not written.

mod evidence;
mod forwarded;
mod hang;
mod line;
mod session;

use std::fmt;

use serde::{Deserialize, Serialize};
use tracer_model::{self as model, Cause, Finding, Transport};

pub use self::{
    evidence::{Evidence, TcpState},
    forwarded::Forwarded,
    hang::{Hang, Request, Stall, Stalled, hang_id},
    line::record_type,
    session::{Ended, Probe, Rotated, Session, Summary},
};
use crate::{Name, Time, WallClock, errno_name, text};

/// One line of a trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Record"))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record<T = String, E = Evidence> {
    /// The first line: the probes are attached.
    Session(Session<T>),
    /// The server was started again, and the probes are attached to the new process.
    Attached(Session<T>),
    /// An audit device has been blocking a request for longer than the threshold, and still does.
    Stalled(Box<Stalled<T>>),
    /// An audit device blocked a request.
    Hang(Box<Hang<T, E>>),
    /// An audit device failed without a hang.
    Refusal(Box<Refusal<T>>),
    /// A connection was closed over data that the peer never acknowledged.
    LostEntries(LostEntries<T>),
    /// An audit device acknowledges nothing, and its send buffer fills up.
    Filling(Filling<T>),
    /// An audit device from its first failed or stalled operation to its first success.
    Incident(Incident<T>),
    /// A standby forwarded a request to the active node of its cluster, and waited for longer than the threshold.
    Forwarded(Box<Forwarded<T>>),
    /// The server's process ended.
    Ended(Ended),
    /// The last line of a file, where the trace goes on in another.
    Rotated(Rotated),
    /// The last line.
    Summary(Summary),
}

/// An audit device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Device"))]
pub struct Device<T = String> {
    /// How the server reaches it.
    pub transport: Name<Transport>,
    /// As it is configured, where that is known, else where its socket leads: `10.0.0.2:1515`, `[fd00::2]:1515`, `log:1515`, a path,
    /// `stdout`, or `https://log:8080`; empty where neither is known.
    pub address: T,
    /// What the operator called it: `socket/`, as `vault audit list` shows it. Absent where that cannot be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<T>,
    /// Where its connections led until then, if it is configured by a name, a URL, or another path of a Unix socket; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

impl<T: AsRef<str>> fmt::Display for Device<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{} (", path.as_ref())?;
        }
        match self.address.as_ref() {
            "" => f.write_str(self.transport.as_str())?,
            address => write!(f, "{} {address}", self.transport)?,
        }
        f.write_str(if self.path.is_some() { ")" } else { "" })
    }
}

/// An audit device failed without a hang.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Refusal"))]
pub struct Refusal<T = String> {
    /// The device.
    pub device: Device<T>,
    /// The request that met it.
    pub request: Request<T>,
    /// The first failure.
    pub start: Time,
    /// All failed operations of this request together.
    pub duration_ns: u64,
    /// Why it failed.
    pub cause: Name<Cause>,
    /// `EMSGSIZE` and the like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<T>,
    /// The status that an HTTP device answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Nothing of the failure itself was seen, but only that other devices took the entries and this one did not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inferred: bool,
    /// One sentence for the operator.
    pub explanation: T,
}

/// A connection was closed over data that the peer never acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "LostEntries"))]
pub struct LostEntries<T = String> {
    /// The device.
    pub device: Device<T>,
    /// When the kernel gave the connection up, or the trace ended.
    pub at: Time,
    /// Bytes written and not acknowledged.
    pub bytes: u64,
    /// Whole audit entries among them.
    pub entries: u64,
    /// The ids of their requests, as far as seen.
    pub requests: Vec<T>,
    /// False where the writing of some of the data was not seen: before the trace began, or since records were lost.
    pub complete: bool,
    /// The kernel was still trying to deliver the data when the trace ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
    /// The time of these figures, where `pending`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Time>,
    /// One sentence for the operator.
    pub explanation: T,
}

/// An audit device acknowledges nothing, and its send buffer fills up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Filling"))]
pub struct Filling<T = String> {
    /// The device.
    pub device: Device<T>,
    /// When this was seen.
    pub at: Time,
    /// The last acknowledgement.
    pub silent_since: Time,
    /// Memory that the send queue takes.
    pub send_queue_bytes: u64,
    /// The limit of that memory.
    pub send_buffer_bytes: u64,
    /// How fast it fills.
    pub bytes_per_second: u64,
    /// Time until it is full at this rate; absent where it does not grow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_in_ns: Option<u64>,
    /// One sentence for the operator.
    pub explanation: T,
}

/// An audit device from its first failed or stalled operation to its first success.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Incident"))]
pub struct Incident<T = String> {
    /// The device.
    pub device: Device<T>,
    /// Its first failed or stalled operation.
    pub start: Time,
    /// Its first success; absent where the server or the trace ended first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Time>,
    /// The cause of the first failed or stalled operation.
    pub cause: Name<Cause>,
    /// Hangs in it.
    pub hangs: u64,
    /// Requests of which it did not take an entry without blocking them; only the first has a `refusal` of its own. Absent in
    /// traces of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusals: Option<u64>,
    /// Requests that were blocked or failed.
    pub requests: u64,
    /// The sum of the hangs.
    pub blocked_ns: u64,
    /// The longest hang.
    pub longest_ns: u64,
    /// Bytes that were lost; absent where that cannot be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_bytes: Option<u64>,
    /// Whole audit entries that were lost; absent where that cannot be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_entries: Option<u64>,
    /// Entries that were tried and not taken; absent where it cannot be seen what the device takes, and in traces of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_entries: Option<u64>,
    /// Entries that were never tried: the server's own time for them ran out in the queue, and their requests were answered. Absent
    /// where queueing cannot be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_entries: Option<u64>,
    /// There may have been more entries of both kinds: the server was stripped of its debugging information, so that not each entry's
    /// request is known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untaken_is_lower_bound: bool,
    /// The requests of those, as far as known; at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missed_requests: Vec<String>,
}

impl Record {
    /// The record of a finding, for those that are part of a trace.
    pub fn of(finding: &Finding, clock: WallClock) -> Option<Self> {
        Some(match finding {
            Finding::Session(session) => Self::Session(Session::of(session, clock)),
            Finding::Attached(session) => Self::Attached(Session::of(session, clock)),
            Finding::Stalled(stalled) => Self::Stalled(Box::new(Stalled::of(stalled, clock))),
            Finding::Hang(hang) => Self::Hang(Box::new(Hang::of(hang, clock))),
            // Counted in their incident.
            Finding::Refusal(refusal) if refusal.before > 0 => return None,
            Finding::Refusal(refusal) => Self::Refusal(Box::new(Refusal::of(refusal, clock))),
            Finding::LostEntries(loss) => Self::LostEntries(LostEntries::of(loss, clock)),
            Finding::Filling(filling) => Self::Filling(Filling::of(filling, clock)),
            Finding::Incident(incident) => Self::Incident(Incident::of(incident, clock)),
            Finding::Forwarded(found) => Self::Forwarded(Box::new(Forwarded::of(found, clock))),
            Finding::Ended(ended) => Self::Ended(Ended::of(*ended, clock)),
            Finding::Summary(summary) => Self::Summary(Summary::of(summary, clock)),
            Finding::Snapshot(_) | Finding::Warning(_) => return None,
        })
    }
}

impl From<&model::Device> for Device {
    fn from(device: &model::Device) -> Self {
        Self {
            transport: device.transport.into(),
            address: device.address.clone(),
            path: device.path.clone(),
            addresses: device.addresses.clone(),
        }
    }
}

impl Refusal {
    /// Of a device that failed without a hang.
    pub fn of(refusal: &model::Refusal, clock: WallClock) -> Self {
        Self {
            device: (&refusal.device).into(),
            request: Request::of(&refusal.request, clock),
            start: clock.time(refusal.start),
            duration_ns: refusal.duration,
            cause: refusal.cause.into(),
            errno: refusal.errno.map(errno_name),
            http_status: refusal.http_status,
            inferred: refusal.inferred,
            explanation: text::explain::refusal(refusal),
        }
    }
}

impl LostEntries {
    /// Of a connection that was closed over unacknowledged data.
    pub fn of(loss: &model::LostEntries, clock: WallClock) -> Self {
        Self {
            device: (&loss.device).into(),
            at: clock.time(loss.at),
            bytes: loss.bytes,
            entries: loss.entries,
            requests: loss.requests.clone(),
            complete: loss.complete,
            pending: loss.pending,
            as_of: loss.pending.then(|| clock.time(loss.as_of)),
            explanation: text::explain::loss(loss),
        }
    }
}

impl Filling {
    /// Of a device that acknowledges nothing.
    pub fn of(filling: &model::FillingBuffer, clock: WallClock) -> Self {
        Self {
            device: (&filling.device).into(),
            at: clock.time(filling.at),
            silent_since: clock.time(filling.since),
            send_queue_bytes: filling.queued,
            send_buffer_bytes: filling.limit,
            bytes_per_second: filling.rate,
            full_in_ns: filling.full_in(),
            explanation: text::explain::filling(filling),
        }
    }
}

impl Incident {
    /// Of a device that works again, or of a trace that ends before it does.
    pub fn of(incident: &model::Incident, clock: WallClock) -> Self {
        Self {
            device: (&incident.device).into(),
            start: clock.time(incident.start),
            end: incident.end.map(|end| clock.time(end)),
            cause: incident.cause.into(),
            hangs: incident.hangs,
            refusals: Some(incident.refusals),
            requests: incident.requests,
            blocked_ns: incident.blocked,
            longest_ns: incident.longest,
            lost_bytes: incident.lost.map(|lost| lost.bytes),
            lost_entries: incident.lost.map(|lost| lost.entries),
            failed_entries: incident.untaken.failed,
            missed_entries: incident.untaken.missed,
            untaken_is_lower_bound: incident.untaken.at_least,
            missed_requests: incident.untaken.missed_requests.clone(),
        }
    }
}
